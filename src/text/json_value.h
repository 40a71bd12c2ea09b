#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace weft::text {

/// Reading members of a JSON object that may lack them, without exceptions.

inline simdjson::dom::element JsonMember(simdjson::dom::element object, std::string_view name,
                                         bool& found) {
  simdjson::dom::element value;
  found =
      object.is_object() && object.at_key(name).get(value) == simdjson::SUCCESS && !value.is_null();
  return value;
}

/// False when absent, null or not a boolean; `fallback` when absent or null.
inline bool JsonBool(simdjson::dom::element object, std::string_view name, bool fallback) {
  bool found = false;
  const simdjson::dom::element value = JsonMember(object, name, found);
  bool boolean = false;
  if (!found) return fallback;
  return value.get(boolean) == simdjson::SUCCESS && boolean;
}

/// `fallback` when absent, null or not an integer.
inline int64_t JsonInteger(simdjson::dom::element object, std::string_view name, int64_t fallback) {
  bool found = false;
  const simdjson::dom::element value = JsonMember(object, name, found);
  int64_t number = 0;
  return found && value.get(number) == simdjson::SUCCESS ? number : fallback;
}

/// Empty when absent, null or not a string.
inline std::string_view JsonString(simdjson::dom::element object, std::string_view name) {
  bool found = false;
  const simdjson::dom::element value = JsonMember(object, name, found);
  std::string_view text;
  if (!found || value.get(text) != simdjson::SUCCESS) return {};
  return text;
}

}  // namespace weft::text
