#pragma once

#include <CLI/App.hpp>
#include <cstdint>

#include "base/result.h"
#include "bench/bench_options.h"

namespace weft::cli {

/// Flags that say what requests come and when, of all that send them or plan for them.

/// How many requests, how long random ones are, and the seed.
void AddRandomLengthFlags(CLI::App& app, bench::BenchOptions& options);
/// When they come, for which adapter, and what is done before.
void AddArrivalFlags(CLI::App& app, bench::BenchOptions& options);

/// What no flag of these can be checked for alone. `adapters`: how many there are to choose from.
Status CheckArrivals(const bench::BenchOptions& options, int64_t adapters);

}  // namespace weft::cli
