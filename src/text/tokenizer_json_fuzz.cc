// A tokenizer.json of any bytes is read or refused; one that is read encodes and decodes.

#include <cstdint>
#include <string_view>

#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::text;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = Tokenizer::FromTokenizerJson(bytes, bytes);
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("The weft's 12 é\n <s>", SpecialTokens::kAdd);
  if (ids.ok()) (void)(*tokenizer)->Decode(*ids, false);
  return 0;
}
