#include "bench/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace weft::bench {

// numpy/_core/src/umath/loops_utils.h: pairwise summation with eight accumulators a block.
double Sum(std::span<const double> values) {
  constexpr size_t kLanes = 8;
  constexpr size_t kBlock = 128;
  const size_t count = values.size();
  if (count < kLanes) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum;
  }
  if (count > kBlock) {
    size_t half = count / 2;
    half -= half % kLanes;
    return Sum(values.first(half)) + Sum(values.subspan(half));
  }
  std::array<double, kLanes> lane;
  std::copy_n(values.begin(), kLanes, lane.begin());
  size_t i = kLanes;
  for (; i < count - count % kLanes; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] += values[i + j];
  }
  double sum =
      ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  for (; i < count; ++i) sum += values[i];
  return sum;
}

double Mean(std::span<const double> values) {
  return values.empty() ? 0 : Sum(values) / static_cast<double>(values.size());
}

double StandardDeviation(std::span<const double> values) {
  if (values.empty()) return 0;
  const double mean = Mean(values);
  std::vector<double> squares;
  squares.reserve(values.size());
  for (const double value : values) squares.push_back((value - mean) * (value - mean));
  return std::sqrt(Mean(squares));
}

double Maximum(std::span<const double> values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

double Percentile(std::span<const double> sorted, double percent) {
  WEFT_CHECK(percent >= 0 && percent <= 100);
  if (sorted.empty()) return 0;
  const double position = static_cast<double>(sorted.size() - 1) * (percent / 100);
  const auto below = static_cast<size_t>(position);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double fraction = position - static_cast<double>(below);
  const double gap = sorted[below + 1] - sorted[below];
  // numpy's _lerp: from the nearer end, so that the ends are hit exactly.
  if (fraction >= 0.5) return sorted[below + 1] - gap * (1 - fraction);
  return sorted[below] + gap * fraction;
}

double Median(std::span<const double> sorted) {
  if (sorted.empty()) return 0;
  const size_t middle = sorted.size() / 2;
  if (sorted.size() % 2 == 1) return sorted[middle];
  return (sorted[middle - 1] + sorted[middle]) / 2;
}

}  // namespace weft::bench
