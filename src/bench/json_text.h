#pragma once

#include <string>
#include <string_view>

namespace weft::bench {

/// Appends a quoted JSON string. `text` is UTF-8 and stays so; only what JSON demands is escaped.
void AppendJsonString(std::string& out, std::string_view text);
std::string JsonString(std::string_view text);

/// A double as Python's repr and json.dumps write it: "4.0", "0.1", "1e-05"; `infinity` names what
/// stands for positive infinity ("inf" in text, "Infinity" in JSON).
std::string PythonFloat(double value, std::string_view infinity);

}  // namespace weft::bench
