#pragma once

#include <cstddef>
#include <vector>

namespace weft::ops::cpu {

/// Where each thread begins to read the weights of each product of a step. A step runs the same
/// products in the same order as the one before, so a thread that ends its part of one can fetch
/// the beginning of its part of the next, and memory is not idle while threads wait for one
/// another. Only a hint: a wrong guess costs a few reads. Owned by the operators; Next may be
/// called by any thread while a product runs.
class ReadAhead {
 public:
  explicit ReadAhead(int threads) : threads_(static_cast<size_t>(threads)) {}

  void BeginStep() {
    known_ = next_ > 0 ? next_ : known_;
    next_ = 0;
  }

  /// A product begins; `start` says for each thread where its weights begin.
  template <typename Start>
  void BeginProduct(Start start) {
    if (starts_.size() < (next_ + 1) * threads_) starts_.resize((next_ + 1) * threads_);
    for (size_t thread = 0; thread < threads_; ++thread)
      starts_[next_ * threads_ + thread] = start(static_cast<int>(thread));
    ++next_;
  }

  /// Where the thread will begin in the product after the one at hand; null when nothing is known.
  const std::byte* Next(int thread) const {
    const size_t product = next_ < known_ ? next_ : 0;
    return starts_[product * threads_ + static_cast<size_t>(thread)];
  }

 private:
  const size_t threads_;
  size_t next_ = 0;                       ///< The number of the product after the one at hand.
  size_t known_ = 0;                      ///< Products of the step before.
  std::vector<const std::byte*> starts_;  ///< [product][thread]
};

}  // namespace weft::ops::cpu
