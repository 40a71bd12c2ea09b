#include "server/text_pool.h"

#include <pthread.h>

#include <utility>

namespace weft::server {

TextPool::TextPool(int threads, size_t queue_limit) : queue_(queue_limit) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "weft-text");
      while (auto task = queue_.Pop()) (*task)();
    });
  }
}

TextPool::~TextPool() {
  queue_.Close();
  while (queue_.TryPop()) {
  }
  for (std::thread& thread : threads_) thread.join();
}

bool TextPool::TrySubmit(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

}  // namespace weft::server
