#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace weft {

/// Counts of observations by upper bound, as Prometheus wants them. Owned and used by one thread;
/// copied to be read.
class Histogram {
 public:
  /// `bounds` ascending; one more bucket holds what is above the last.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1, 0) {}

  void Observe(double value) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    ++counts_[static_cast<size_t>(bucket)];
    sum_ += value;
  }

  const std::vector<double>& bounds() const { return bounds_; }
  /// Per bucket, not cumulative.
  const std::vector<uint64_t>& counts() const { return counts_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  double sum_ = 0;
};

}  // namespace weft
