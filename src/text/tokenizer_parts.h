#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/added_tokens.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace weft::text {

/// What a Tokenizer is made of, whatever file it came from. Immutable once built.
class TokenizerParts {
 public:
  Vocabulary vocabulary;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const Model> model;        ///< Refers to `vocabulary`.
  AddedTokenFinder raw_added_tokens;         ///< Those looked for in the text as it came.
  AddedTokenFinder normalized_added_tokens;  ///< Those looked for in the normalized text.
  std::vector<TokenId> prefix;               ///< What SpecialTokens::kAdd puts before a text,
  std::vector<TokenId> suffix;               ///< and after it.
  DecodeStyle decode_style = DecodeStyle::kBytes;
  TokenId bos = -1;
  TokenId eos = -1;

  TokenizerParts() = default;
  TokenizerParts(const TokenizerParts&) = delete;
  TokenizerParts& operator=(const TokenizerParts&) = delete;

  /// Registers added tokens: in the vocabulary, and with the two finders.
  Status SetAddedTokens(const std::vector<AddedToken>& tokens);
  /// Appends the tokens of well-formed UTF-8, without prefix and suffix.
  Status EncodeText(std::string_view text, std::vector<TokenId>& to) const;

 private:
  Status EncodePlain(std::string_view text, bool at_text_start, std::vector<TokenId>& to) const;
};

/// The parts that a tokenizer.json describes.
Result<std::unique_ptr<const TokenizerParts>> ReadTokenizerJson(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json);

/// The parts that a GGUF's metadata describe.
Result<std::unique_ptr<const TokenizerParts>> ReadGgufVocabulary(const GgufVocabulary& vocabulary);

}  // namespace weft::text
