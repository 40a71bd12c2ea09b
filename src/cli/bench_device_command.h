#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `device` to `weft bench`: measures what this machine can do. Sets `exit_code`.
CLI::App* RegisterBenchDeviceCommand(CLI::App& bench, int& exit_code);

}  // namespace weft::cli
