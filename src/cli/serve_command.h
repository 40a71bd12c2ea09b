#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `weft serve`. When it is given, parsing runs the server until SIGINT or SIGTERM and sets
/// `exit_code`: 0 after an orderly stop, 1 when the model, an adapter or the port cannot be had, 2
/// when flags are wrong.
void RegisterServeCommand(CLI::App& weft, int& exit_code);

}  // namespace weft::cli
