#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `weft simulate`: what a server with these flags would do under a load, on a machine that
/// need not be there.
void RegisterSimulateCommand(CLI::App& weft, int& exit_code);

}  // namespace weft::cli
