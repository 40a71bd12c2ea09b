#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft::text {

/// The offset of the first byte that is not part of a well-formed UTF-8 character; nullopt if the
/// whole text is well formed.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

/// The character that starts at `offset` of well-formed text, and its length in bytes.
struct Utf8Character {
  char32_t code_point = 0;
  size_t length = 0;
};
Utf8Character DecodeUtf8(std::string_view text, size_t offset);

void AppendUtf8(char32_t code_point, std::string& to);

/// The length of the character that starts with this byte of well-formed text.
inline size_t Utf8Length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Turns a stream of bytes into well-formed UTF-8: each maximal ill-formed part becomes one U+FFFD,
/// as Unicode 3.9 (D93b) recommends and Python's bytes.decode("utf-8", errors="replace") does, as
/// soon as it can no longer become a character. Holds at most three bytes. One owner.
class Utf8Replacer {
 public:
  void Append(std::string_view bytes, std::string& to);
  /// Ends the stream: an unfinished character becomes one U+FFFD.
  void Finish(std::string& to);

 private:
  void Replace(std::string& to);

  std::string held_;       // The bytes of the unfinished character.
  int expected_ = 0;       // Its continuation bytes still to come.
  uint8_t lowest_ = 0x80;  // The range of the next one of them.
  uint8_t highest_ = 0xBF;
};

}  // namespace weft::text
