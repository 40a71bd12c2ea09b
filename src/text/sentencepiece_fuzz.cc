// A tokenizer.model of any bytes is read or refused; one that is read encodes and decodes.

#include <cstdint>
#include <string_view>

#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::text;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = Tokenizer::FromSentencePiece(bytes, "");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("ab aé\n <s>", SpecialTokens::kAdd);
  if (ids.ok()) (void)(*tokenizer)->Decode(*ids, false);
  return 0;
}
