#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `weft bench` with bench_serving's flags. When it is given, parsing runs it and sets
/// `exit_code`: 0, 1 when the run failed, 2 when the flags contradict one another. `exit_code` must
/// outlive `weft`'s parsing.
void RegisterBenchCommand(CLI::App& weft, int& exit_code);

}  // namespace weft::cli
