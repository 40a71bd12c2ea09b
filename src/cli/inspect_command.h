#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `weft inspect`. When it is given, parsing runs it and sets `exit_code`: 0, 1 when `weft
/// serve` would not load one of the paths, 2 when the flags are wrong. `exit_code` must outlive
/// `weft`'s parsing.
void RegisterInspectCommand(CLI::App& weft, int& exit_code);

}  // namespace weft::cli
