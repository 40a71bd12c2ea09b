#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace weft::server {

/// The threads that render and tokenize prompts, behind a bounded queue. Any thread may submit;
/// the destructor drops what has not begun and joins.
class TextPool {
 public:
  TextPool(int threads, size_t queue_limit);
  ~TextPool();
  TextPool(const TextPool&) = delete;
  TextPool& operator=(const TextPool&) = delete;

  /// False when the queue is full: the caller refuses the request.
  bool TrySubmit(std::function<void()> task);

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace weft::server
