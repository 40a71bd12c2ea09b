#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/result.h"
#include "bench/workload.h"

namespace weft::cli {

/// Gives each of these flags to a command that was parsed, where neither the command line nor the
/// environment has it. `where`: before a flag in messages. Refuses flags that the command does not
/// have.
Status GiveFlags(CLI::App& command, const bench::FlagValues& flags, const std::string& where);

}  // namespace weft::cli
