#pragma once

#include <functional>

#include "base/clock.h"

namespace weft {

/// How long a rate is measured: the more runs, the less one disturbance says.
struct RateRuns {
  int runs = 5;
  Duration each = std::chrono::milliseconds(30);  ///< A run goes on for at least this long.
};

/// What `work` does in a second, in whatever it returns (bytes, operations): the median of several
/// runs, each of as many calls as fill its time. One call goes before them and is not counted.
/// Blocks for as long as that takes.
double MedianRate(const Clock& clock, const RateRuns& runs, const std::function<double()>& work);

}  // namespace weft
