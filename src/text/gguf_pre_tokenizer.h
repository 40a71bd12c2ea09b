#pragma once

#include <span>
#include <string_view>

namespace weft::text {

/// How text is cut for one value of tokenizer.ggml.pre: at the matches of each expression in turn
/// (Oniguruma's syntax; matches and what lies between them are pieces), then bytes are spelled as
/// GPT-2 spells them.
struct GgufPreTokenizer {
  std::span<const std::string_view> patterns;
  bool ignore_merges = false;
};

/// Null when the name is not known.
const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view pre);

}  // namespace weft::text
