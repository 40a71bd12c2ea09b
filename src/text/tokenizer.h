#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/strong_id.h"

namespace weft::text {

/// Whether Encode surrounds the text with what the file's post-processor says (a BOS, an EOS).
enum class SpecialTokens { kAdd, kDoNotAdd };

/// What decoding does with a space at the very start of a text; all else is the tokens' bytes.
enum class DecodeStyle {
  kBytes,            ///< Nothing: byte-level vocabularies.
  kDropSpace,        ///< Drops one: Llama 2's and other sentencepiece vocabularies.
  kDropFirstSpaces,  ///< Drops all spaces of the first token: a Metaspace decoder.
};

/// A GGUF file's tokenizer.ggml.* metadata, as plain data.
struct GgufVocabulary {
  std::string model;                ///< "gpt2" or "llama".
  std::string pre;                  ///< Names the pre-tokenizer of a "gpt2" vocabulary.
  std::vector<std::string> tokens;  ///< By id.
  std::vector<int32_t> types;       ///< 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused,
                                    ///< 6 byte. May be empty: all normal.
  std::vector<float> scores;        ///< Of a "llama" vocabulary.
  std::vector<std::string> merges;  ///< Of a "gpt2" vocabulary: "left right".
  TokenId bos = -1;                 ///< -1: none, here and below.
  TokenId eos = -1;
  TokenId unk = -1;
  TokenId pad = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = true;  ///< Of a "llama" vocabulary.
};

class TokenizerParts;

/// Text to token ids and back, equal token for token to the `tokenizers` library on the same file.
///
/// Immutable after creation and shared by shared_ptr; any thread may call any method. Encoding is
/// O(n log n) in the bytes of the text, 7 to 12 MB/s for prose (Qwen2, one core). Everything that
/// the file asks for and Weft does not know is refused by name when it is created.
class Tokenizer {
 public:
  /// From the bytes of tokenizer.json, and of tokenizer_config.json for the names of the BOS and
  /// EOS tokens (may be empty: none known).
  static Result<std::shared_ptr<const Tokenizer>> FromTokenizerJson(
      std::string_view tokenizer_json, std::string_view tokenizer_config_json);
  static Result<std::shared_ptr<const Tokenizer>> FromGguf(const GgufVocabulary& vocabulary);
  /// From the bytes of tokenizer.model (sentencepiece, BPE), for a model without tokenizer.json.
  /// tokenizer_config.json's add_bos_token and add_eos_token (may be empty) say whether those are
  /// added; where they do not, BOS is and EOS is not, as Llama 2 and Mistral want it.
  static Result<std::shared_ptr<const Tokenizer>> FromSentencePiece(
      std::string_view tokenizer_model, std::string_view tokenizer_config_json);
  ~Tokenizer();

  /// The text's tokens. Names of special tokens inside the text become those tokens, as with
  /// transformers. Text that is not UTF-8 is kInvalidArgument and names the offset of the first bad
  /// byte.
  Result<std::vector<TokenId>> Encode(std::string_view text, SpecialTokens special) const;

  /// The text of `ids`. Bytes that are not UTF-8 become U+FFFD as Python's errors="replace" does
  /// it.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  /// The raw bytes that a token stands for: not necessarily whole characters. Empty for an id
  /// outside the vocabulary, here and below.
  std::string_view TokenBytes(TokenId id) const;
  /// The token as the file spells it ("Ġhello").
  std::string_view TokenText(TokenId id) const;
  /// A token that skip_special_tokens leaves out.
  bool IsSpecial(TokenId id) const;
  /// The id of a token as the file spells it.
  std::optional<TokenId> Find(std::string_view token_text) const;

  /// One more than the largest id.
  int32_t vocabulary_size() const;
  TokenId bos() const;  ///< -1: none.
  TokenId eos() const;  ///< -1: none.
  /// How many tokens SpecialTokens::kAdd adds to a text.
  int32_t num_special_tokens_to_add() const;
  DecodeStyle decode_style() const;

 private:
  explicit Tokenizer(std::unique_ptr<const TokenizerParts> parts);

  std::unique_ptr<const TokenizerParts> parts_;
};

}  // namespace weft::text
