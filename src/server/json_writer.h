#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::server {

/// Appends `text` (valid UTF-8) as a JSON string with its quotes. Only what JSON demands is
/// escaped.
void AppendJsonString(std::string_view text, std::string& to);

/// Appends a number as Python's repr does: the fewest digits that read back as the same value, a
/// point or an exponent always there (1.0, 1e-05, 1e+16). Infinities and NaN become null.
void AppendJsonNumber(double value, std::string& to);
void AppendJsonNumber(float value, std::string& to);

/// Writes one JSON text into a string that its owner gives. Commas are its business; balanced
/// Begin and End calls, and a Key before each member, are the caller's. One thread at a time.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& to) : to_(to) {}

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view key);
  /// What is not UTF-8 (a path in a message, say) becomes U+FFFD.
  JsonWriter& String(std::string_view text);
  JsonWriter& Integer(int64_t value);
  JsonWriter& Number(double value);
  JsonWriter& Number(float value);
  JsonWriter& Bool(bool value) { return Raw(value ? "true" : "false"); }
  JsonWriter& Null() { return Raw("null"); }
  /// A whole JSON value, as it is.
  JsonWriter& Raw(std::string_view json);

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Separate();

  std::string& to_;
  bool after_value_ = false;
};

}  // namespace weft::server
