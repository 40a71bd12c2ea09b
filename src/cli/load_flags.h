#pragma once

#include <CLI/App.hpp>

#include "bench/bench_options.h"

namespace weft::cli {

/// Flags that say what requests come and when, of all that send them or plan for them.

/// How many requests, how long random ones are, and the seed.
void AddRandomLengthFlags(CLI::App& app, bench::BenchOptions& options);
/// When they come, for which adapter, and what is done before.
void AddArrivalFlags(CLI::App& app, bench::BenchOptions& options);

}  // namespace weft::cli
