#include "text/utf8.h"

#include <simdjson.h>

namespace weft::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What a lead byte announces: how many continuation bytes, and the range of the first of them
// (Unicode 15, table 3-7). No continuation bytes and an empty range: not a lead byte.
struct Lead {
  int continuations = 0;
  uint8_t lowest = 0x80;
  uint8_t highest = 0xBF;
};

Lead ReadLead(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {};
}

}  // namespace

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::nullopt;
  size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<uint8_t>(text[at]);
    if (byte < 0x80) {
      ++at;
      continue;
    }
    const Lead lead = ReadLead(byte);
    if (lead.continuations == 0) return at;
    for (int i = 1; i <= lead.continuations; ++i) {
      if (at + i >= text.size()) return at;
      const auto next = static_cast<uint8_t>(text[at + i]);
      const uint8_t lowest = i == 1 ? lead.lowest : 0x80;
      const uint8_t highest = i == 1 ? lead.highest : 0xBF;
      if (next < lowest || next > highest) return at;
    }
    at += lead.continuations + 1;
  }
  return std::nullopt;
}

Utf8Character DecodeUtf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<uint8_t>(text[offset + i]));
  };
  switch (Utf8Length(text[offset])) {
    case 1:
      return {byte(0), 1};
    case 2:
      return {((byte(0) & 0x1F) << 6) | (byte(1) & 0x3F), 2};
    case 3:
      return {((byte(0) & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
    default:
      return {((byte(0) & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) |
                  (byte(3) & 0x3F),
              4};
  }
}

void AppendUtf8(char32_t code_point, std::string& to) {
  const auto put = [&](char32_t byte) { to.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

void Utf8Replacer::Replace(std::string& to) {
  to.append(kReplacement);
  held_.clear();
  expected_ = 0;
}

void Utf8Replacer::Append(std::string_view bytes, std::string& to) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (expected_ > 0 && (byte < lowest_ || byte > highest_)) Replace(to);
    if (expected_ > 0) {
      held_.push_back(c);
      lowest_ = 0x80;
      highest_ = 0xBF;
      if (--expected_ == 0) {
        to.append(held_);
        held_.clear();
      }
    } else if (byte < 0x80) {
      to.push_back(c);
    } else {
      const Lead lead = ReadLead(byte);
      expected_ = lead.continuations;
      lowest_ = lead.lowest;
      highest_ = lead.highest;
      if (expected_ == 0) {
        Replace(to);
      } else {
        held_.push_back(c);
      }
    }
  }
}

void Utf8Replacer::Finish(std::string& to) {
  if (expected_ > 0) Replace(to);
}

}  // namespace weft::text
