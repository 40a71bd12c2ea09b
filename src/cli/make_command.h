#pragma once

#include <CLI/App.hpp>

namespace weft::cli {

/// Adds `weft make model` and `weft make adapter`. When one is given, parsing runs it and sets
/// `exit_code`: 0, 1 when it failed, 2 when the flags are wrong. `exit_code` must outlive `weft`'s
/// parsing.
void RegisterMakeCommand(CLI::App& weft, int& exit_code);

}  // namespace weft::cli
