#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace weft::text {
namespace {

constexpr int kCharacters = 0x100 + 68;

struct Alphabet {
  std::array<std::string, 256> characters;   // UTF-8, by byte.
  std::array<int16_t, kCharacters> bytes{};  // By character; -1: none.

  Alphabet() {
    bytes.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const int character = printable ? byte : next++;
      AppendUtf8(static_cast<char32_t>(character), characters[byte]);
      bytes[character] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

void AppendByteLevel(std::string_view bytes, std::string& to) {
  const Alphabet& alphabet = TheAlphabet();
  for (const char c : bytes) to.append(alphabet.characters[static_cast<uint8_t>(c)]);
}

std::optional<std::string> FromByteLevel(std::string_view token) {
  const Alphabet& alphabet = TheAlphabet();
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const Utf8Character character = DecodeUtf8(token, at);
    at += character.length;
    if (character.code_point >= kCharacters || alphabet.bytes[character.code_point] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(alphabet.bytes[character.code_point]));
  }
  return out;
}

}  // namespace weft::text
