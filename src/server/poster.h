#pragma once

#include <chrono>
#include <functional>

namespace weft::server {

/// Runs tasks on a shard's thread, in the order they were posted. Any thread may post; after the
/// shard has ended tasks are dropped.
class Poster {
 public:
  virtual ~Poster() = default;
  virtual void Post(std::function<void()> task) = 0;
  /// From the shard's thread only.
  virtual void PostAfter(std::chrono::milliseconds delay, std::function<void()> task) = 0;
};

}  // namespace weft::server
