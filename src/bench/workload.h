#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::bench {

/// A workload definition (benchmarks/workloads/*.toml): what `weft bench` sends, and what the
/// server and the adapters it is meant for look like. benchmarks/README.md describes the format.
struct Workload {
  /// Flags of `weft bench` without dashes, each with its values as on the command line.
  std::vector<std::pair<std::string, std::vector<std::string>>> bench;
  /// The names that [[adapters]] stand for: NAME-0, NAME-1, ... of each group.
  std::vector<std::string> adapter_names;
};

/// Parses TOML; `name` is for messages. Pure.
Result<Workload> ParseWorkload(std::string_view toml, std::string_view name);

}  // namespace weft::bench
