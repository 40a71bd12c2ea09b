#pragma once

#include <benchmark/benchmark.h>

#include "base/dtype.h"

namespace weft {

/// What `threads` threads of this machine can do, measured once a process.
struct Ceilings {
  double flop_per_second = 0;   ///< Matrix products whose operands stay in the first caches.
  double bytes_per_second = 0;  ///< Memory read from end to end, far more than the caches hold.
};
const Ceilings& CeilingsOf(int threads, DType dtype);

/// Adds the counter "of_ceiling": the time that an iteration of `flop` operations and `bytes` read
/// from memory would take at the ceilings, the longer of the two, as a share of what it took.
void ReportShare(benchmark::State& state, int threads, DType dtype, double flop, double bytes);

}  // namespace weft
