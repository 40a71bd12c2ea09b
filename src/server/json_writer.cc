#include "server/json_writer.h"

#include <charconv>
#include <cmath>

#include "text/utf8.h"

namespace weft::server {
namespace {

constexpr int kFixedFrom = -4;   // Python's repr: smaller exponents are written as such,
constexpr int kFixedBelow = 16;  // and so are these and larger ones.

template <typename Float>
void AppendAsPython(Float value, std::string& to) {
  if (!std::isfinite(value)) {
    to += "null";
    return;
  }
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  if (text.front() == '-') {
    to += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  int exponent = 0;
  const char* from = text.data() + e + 1;
  std::from_chars(*from == '+' ? from + 1 : from, text.data() + text.size(), exponent);
  std::string digits(1, text.front());
  if (e > 2) digits += text.substr(2, e - 2);

  if (exponent < kFixedFrom || exponent >= kFixedBelow) {
    to += digits[0];
    if (digits.size() > 1) {
      to += '.';
      to.append(digits, 1);
    }
    to += 'e';
    to.append(text.substr(e + 1));
  } else if (exponent < 0) {
    to += "0.";
    to.append(static_cast<size_t>(-exponent - 1), '0');
    to += digits;
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    to.append(digits, 0, whole);
    to += '.';
    if (digits.size() > whole) {
      to.append(digits, whole);
    } else {
      to += '0';
    }
  }
}

bool NeedsEscape(unsigned char byte) { return byte < 0x20 || byte == '"' || byte == '\\'; }

void AppendEscaped(char byte, std::string& to) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (byte) {
    case '"':
      to += "\\\"";
      break;
    case '\\':
      to += "\\\\";
      break;
    case '\b':
      to += "\\b";
      break;
    case '\f':
      to += "\\f";
      break;
    case '\n':
      to += "\\n";
      break;
    case '\r':
      to += "\\r";
      break;
    case '\t':
      to += "\\t";
      break;
    default:
      to += "\\u00";
      to += kHex[(byte >> 4) & 0xf];
      to += kHex[byte & 0xf];
  }
}

std::string WellFormed(std::string_view bytes) {
  std::string text;
  text::Utf8Replacer replacer;
  replacer.Append(bytes, text);
  replacer.Finish(text);
  return text;
}

}  // namespace

void AppendJsonString(std::string_view text, std::string& to) {
  to += '"';
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!NeedsEscape(static_cast<unsigned char>(text[i]))) continue;
    to.append(text.substr(from, i - from));
    AppendEscaped(text[i], to);
    from = i + 1;
  }
  to.append(text.substr(from));
  to += '"';
}

void AppendJsonNumber(double value, std::string& to) { AppendAsPython(value, to); }
void AppendJsonNumber(float value, std::string& to) { AppendAsPython(value, to); }

void JsonWriter::Separate() {
  if (after_value_) to_ += ',';
  after_value_ = true;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Separate();
  to_ += bracket;
  after_value_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  to_ += bracket;
  after_value_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Separate();
  AppendJsonString(key, to_);
  to_ += ':';
  after_value_ = false;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  Separate();
  if (text::FindInvalidUtf8(text)) {
    AppendJsonString(WellFormed(text), to_);
  } else {
    AppendJsonString(text, to_);
  }
  return *this;
}

JsonWriter& JsonWriter::Integer(int64_t value) {
  Separate();
  to_ += std::to_string(value);
  return *this;
}

JsonWriter& JsonWriter::Number(double value) {
  Separate();
  AppendJsonNumber(value, to_);
  return *this;
}

JsonWriter& JsonWriter::Number(float value) {
  Separate();
  AppendJsonNumber(value, to_);
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  to_ += json;
  return *this;
}

}  // namespace weft::server
