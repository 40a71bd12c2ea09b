#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::text {

/// GPT-2's regular expression, which ByteLevel uses unless told otherwise.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// GPT-2's spelling of bytes as characters (openai/gpt-2, encoder.py, bytes_to_unicode): printable
/// Latin-1 bytes stand for themselves, the 68 others are U+0100 and on in order.

/// Appends the character of each byte.
void AppendByteLevel(std::string_view bytes, std::string& to);

/// The bytes that a token's characters stand for; nullopt if one of them stands for none.
std::optional<std::string> FromByteLevel(std::string_view token);

}  // namespace weft::text
