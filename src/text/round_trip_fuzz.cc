// Text of any bytes: refused when it is not UTF-8, else its tokens decode to the text again.

#include <fmt/format.h>

#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

// Every byte, some merges, added tokens that strip, Llama 3's expression.
std::shared_ptr<const Tokenizer> Make() {
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = "llama-bpe";
  for (int byte = 0; byte < 256; ++byte) {
    gguf.tokens.emplace_back();
    AppendByteLevel(std::string(1, static_cast<char>(byte)), gguf.tokens.back());
    gguf.types.push_back(1);
  }
  for (const auto& [left, right] : {std::pair{"a", "a"},
                                    {"aa", "aa"},
                                    {"t", "h"},
                                    {"Ġ", "th"},
                                    {"Ã", "©"},
                                    {"Ġ", "Ġ"},
                                    {"e", "e"}}) {
    gguf.merges.push_back(fmt::format("{} {}", left, right));
    gguf.tokens.push_back(fmt::format("{}{}", left, right));
    gguf.types.push_back(1);
  }
  for (const char* added : {"<s>", "</s>", "<s", "the"}) {
    gguf.tokens.emplace_back(added);
    gguf.types.push_back(4);
  }
  auto tokenizer = Tokenizer::FromGguf(gguf);
  WEFT_CHECK(tokenizer.ok());
  return *tokenizer;
}

}  // namespace
}  // namespace weft::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::text;
  static const std::shared_ptr<const Tokenizer> tokenizer = Make();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ids = tokenizer->Encode(text, SpecialTokens::kDoNotAdd);
  WEFT_CHECK(ids.ok() == !FindInvalidUtf8(text).has_value());
  if (ids.ok()) WEFT_CHECK(tokenizer->Decode(*ids, false) == text);
  return 0;
}
