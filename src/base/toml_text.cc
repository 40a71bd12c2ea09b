#include "base/toml_text.h"

#include <utility>

namespace weft {

Result<toml::table> ParseToml(std::string_view text, std::string_view name) {
  toml::parse_result parsed = toml::parse(text, name);
  if (parsed) return std::move(parsed).table();
  const toml::parse_error& error = parsed.error();
  return MakeError(ErrorCode::kInvalidArgument, "{}:{}: {}", name, error.source().begin.line,
                   error.description());
}

}  // namespace weft
