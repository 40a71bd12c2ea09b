#pragma once

#include <string>
#include <utility>
#include <vector>

namespace weft::text {

/// {"key": "value", ...} with everything escaped that JSON wants escaped.
std::string WriteJsonObject(const std::vector<std::pair<std::string, std::string>>& members);

}  // namespace weft::text
