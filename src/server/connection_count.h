#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace weft::server {

/// How many connections are open, over all shards. Any thread.
class ConnectionCount {
 public:
  explicit ConnectionCount(int limit) : limit_(limit) {}

  /// False at the limit.
  bool TryAdd() {
    std::lock_guard lock(mutex_);
    if (count_ >= limit_) return false;
    ++count_;
    return true;
  }

  void Remove() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0) none_.notify_all();
  }

  /// Waits until there are none, at most so long. True if there are none.
  bool WaitForNone(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return none_.wait_for(lock, limit, [&] { return count_ == 0; });
  }

  int count() const {
    std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  const int limit_;
  mutable std::mutex mutex_;
  std::condition_variable none_;
  int count_ = 0;
};

}  // namespace weft::server
