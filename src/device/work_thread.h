#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>

namespace weft::device {

/// A thread that does one piece of work after another, in the order queued: what a stream is made
/// of on every backend. Owned by its stream.
class WorkThread {
 public:
  /// `name`: the first 15 letters are the thread's in top and gdb.
  explicit WorkThread(std::string_view name);
  /// Waits until everything queued is done.
  ~WorkThread();
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  /// Returns at once; any thread.
  void Queue(std::function<void()> work);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::deque<std::function<void()>> queue_;  ///< At most kStreamQueueLimit.
  bool stop_ = false;
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace weft::device
