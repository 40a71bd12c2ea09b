#pragma once

#include "base/result.h"
#include "bench/bench_options.h"

namespace weft::bench {

/// The whole of `weft bench`: asks the server for what the flags leave open, makes the dataset and
/// its schedule, warms up, runs the load, prints the table on standard output, appends the JSON
/// line. Blocks until the last reply. An error is one line for the user; failed requests are an
/// error only when all of them failed.
Status RunBenchmark(const BenchOptions& options);

}  // namespace weft::bench
