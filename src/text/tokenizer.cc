#include "text/tokenizer.h"

#include <simdjson.h>

#include "text/detokenizer.h"
#include "text/json_value.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace weft::text {

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromTokenizerJson(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  WEFT_ASSIGN_OR_RETURN(auto parts, ReadTokenizerJson(tokenizer_json, tokenizer_config_json));
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromGguf(const GgufVocabulary& vocabulary) {
  WEFT_ASSIGN_OR_RETURN(auto parts, ReadGgufVocabulary(vocabulary));
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(parts)));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromSentencePiece(
    std::string_view tokenizer_model, std::string_view tokenizer_config_json) {
  WEFT_ASSIGN_OR_RETURN(GgufVocabulary vocabulary, ReadSentencePieceModel(tokenizer_model));
  vocabulary.add_bos = vocabulary.bos >= 0;
  if (!tokenizer_config_json.empty()) {
    simdjson::dom::parser parser;
    simdjson::dom::element config;
    const auto error = parser.parse(simdjson::padded_string(tokenizer_config_json)).get(config);
    if (error != simdjson::SUCCESS) {
      return MakeError(ErrorCode::kInvalidArgument, "tokenizer_config.json: {}",
                       simdjson::error_message(error));
    }
    vocabulary.add_bos = JsonBool(config, "add_bos_token", vocabulary.add_bos);
    vocabulary.add_eos = JsonBool(config, "add_eos_token", false);
  }
  return FromGguf(vocabulary);
}

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view text, SpecialTokens special) const {
  if (const std::optional<size_t> invalid = FindInvalidUtf8(text)) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "the text is not valid UTF-8: the byte at offset {} does not begin a character", *invalid);
  }
  const bool add = special == SpecialTokens::kAdd;
  std::vector<TokenId> ids;
  if (add) ids = parts_->prefix;
  WEFT_RETURN_IF_ERROR(parts_->EncodeText(text, ids));
  if (add) ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  return ids;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string text;
  LeadingSpace leading(decode_style());
  Utf8Replacer replacer;
  for (const TokenId id : ids) {
    if (skip_special_tokens && IsSpecial(id)) continue;
    if (TokenText(id).empty()) continue;
    replacer.Append(leading.Trim(TokenBytes(id)), text);
  }
  replacer.Finish(text);
  return text;
}

std::string_view Tokenizer::TokenBytes(TokenId id) const { return parts_->vocabulary.Bytes(id); }
std::string_view Tokenizer::TokenText(TokenId id) const { return parts_->vocabulary.Text(id); }
bool Tokenizer::IsSpecial(TokenId id) const { return parts_->vocabulary.IsSpecial(id); }

std::optional<TokenId> Tokenizer::Find(std::string_view token_text) const {
  return parts_->vocabulary.Find(token_text);
}

int32_t Tokenizer::vocabulary_size() const { return parts_->vocabulary.size(); }
TokenId Tokenizer::bos() const { return parts_->bos; }
TokenId Tokenizer::eos() const { return parts_->eos; }
int32_t Tokenizer::num_special_tokens_to_add() const {
  return static_cast<int32_t>(parts_->prefix.size() + parts_->suffix.size());
}
DecodeStyle Tokenizer::decode_style() const { return parts_->decode_style; }

}  // namespace weft::text
