#pragma once

#include <simdjson.h>

#include <vector>

#include "base/result.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace weft::text {

/// The components of a tokenizer.json, each from its JSON value; absent and null are "none". What
/// Weft does not know is kUnsupported and named.

Result<std::vector<NormalizerStep>> ReadNormalizer(simdjson::dom::element root);

Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(simdjson::dom::element root);

/// The tokens that a post-processor puts around a single text.
struct Surround {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};
Result<Surround> ReadPostProcessor(simdjson::dom::element root);

/// How the decoder turns a token's spelling into bytes.
struct DecoderPlan {
  bool byte_level = false;     ///< Spelled with GPT-2's alphabet.
  bool byte_fallback = false;  ///< "<0xE2>" is a byte.
  std::string space;           ///< What spells a space; empty: nothing does.
  DecodeStyle style = DecodeStyle::kBytes;
};
Result<DecoderPlan> ReadDecoder(simdjson::dom::element root);

/// The bytes that a token of that spelling stands for.
std::string TokenToBytes(const DecoderPlan& plan, std::string_view token);

}  // namespace weft::text
