#include "text/json_writer.h"

#include <fmt/format.h>

#include <string_view>

namespace weft::text {
namespace {

void AppendString(std::string_view text, std::string& to) {
  to.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      to += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

}  // namespace

std::string WriteJsonObject(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string json = "{";
  for (const auto& [key, value] : members) {
    if (json.size() > 1) json.push_back(',');
    AppendString(key, json);
    json.push_back(':');
    AppendString(value, json);
  }
  json.push_back('}');
  return json;
}

}  // namespace weft::text
