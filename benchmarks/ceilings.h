#pragma once

#include <benchmark/benchmark.h>

#include "base/dtype.h"

namespace weft {

/// Adds the counter "of_ceiling": the time that an iteration of `flop` operations and `bytes` read
/// from memory would take at the ceilings that `weft bench device` measures, the longer of the two,
/// as a share of what it took.
void ReportShare(benchmark::State& state, int threads, DType dtype, double flop, double bytes);

}  // namespace weft
