#include "device/work_thread.h"

#include <pthread.h>

#include <string>
#include <utility>

#include "base/check.h"
#include "device/device.h"

namespace weft::device {

WorkThread::WorkThread(std::string_view name) : thread_([this] { Work(); }) {
  pthread_setname_np(thread_.native_handle(), std::string(name.substr(0, 15)).c_str());
}

WorkThread::~WorkThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    not_empty_.notify_one();
  }
  thread_.join();
}

void WorkThread::Queue(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  WEFT_CHECK(queue_.size() < kStreamQueueLimit);
  queue_.push_back(std::move(work));
  not_empty_.notify_one();
}

void WorkThread::Work() {
  for (;;) {
    std::function<void()> next;
    {
      std::unique_lock lock(mutex_);
      not_empty_.wait(lock, [&] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    next();
  }
}

}  // namespace weft::device
