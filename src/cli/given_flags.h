#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bench/workload.h"

namespace weft::cli {

/// Gives each of a file's flags to a command that was parsed, where neither the command line nor
/// the environment has it. `file_flag`: the one that names the file, which names no other. `where`:
/// before a flag in messages. Refuses flags that the command does not have.
Status GiveFlags(CLI::App& command, const bench::FlagValues& flags, std::string_view file_flag,
                 const std::string& where);

/// Reads a workload (--workload) and gives its [bench] flags to the command. Blocks.
Result<bench::Workload> GiveWorkload(CLI::App& command, const std::string& path);

}  // namespace weft::cli
