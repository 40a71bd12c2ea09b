#pragma once

#include <string_view>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/result.h"

namespace weft {

/// A TOML text as a table; an error names `name` and the line. Pure.
Result<toml::table> ParseToml(std::string_view text, std::string_view name);

}  // namespace weft
