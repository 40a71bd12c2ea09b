#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::bench {

/// Flags of a command without dashes, each with its values as on the command line.
using FlagValues = std::vector<std::pair<std::string, std::vector<std::string>>>;

/// [[adapters]]: NAME-0, NAME-1, ...
struct AdapterGroup {
  std::string name;
  int64_t count = 0;
  int64_t rank = 8;
  std::string dtype = "float32";  ///< Of its files.
};

/// A workload definition (benchmarks/workloads/*.toml): what `weft bench` sends, and what the
/// server and the adapters it is meant for look like. benchmarks/README.md describes the format.
struct Workload {
  FlagValues bench;  ///< Of `weft bench`.
  FlagValues serve;  ///< Of `weft serve`.
  std::vector<AdapterGroup> adapters;
  std::optional<std::string> model_like;  ///< A name that `weft make model --like` knows.

  /// Of all groups, in order.
  std::vector<std::string> AdapterNames() const;
};

/// Parses TOML; `name` is for messages. Pure.
Result<Workload> ParseWorkload(std::string_view toml, std::string_view name);

/// The flags of `weft serve` that a TOML file has: in its table [serve], as a workload does, or at
/// its top. Pure.
Result<FlagValues> ParseServeFlags(std::string_view toml, std::string_view name);

}  // namespace weft::bench
