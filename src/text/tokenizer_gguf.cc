#include <algorithm>

#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/gguf_pre_tokenizer.h"
#include "text/json_components.h"
#include "text/score_model.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, sentencepiece's space.

// tokenizer.ggml.token_type.
enum class TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

TokenType TypeOf(const GgufVocabulary& gguf, size_t id) {
  return gguf.types.empty() ? TokenType::kNormal : static_cast<TokenType>(gguf.types[id]);
}

Error Bad(std::string message) {
  return MakeError(ErrorCode::kInvalidArgument, "GGUF tokenizer: {}", message);
}

Status CheckSizes(const GgufVocabulary& gguf) {
  if (gguf.tokens.empty()) return Bad("tokenizer.ggml.tokens is missing or empty");
  if (gguf.tokens.size() > static_cast<size_t>(kLargestTokenId)) {
    return Bad(fmt::format("{} tokens are more than any vocabulary has", gguf.tokens.size()));
  }
  if (!gguf.types.empty() && gguf.types.size() != gguf.tokens.size()) {
    return Bad(fmt::format("{} token types for {} tokens", gguf.types.size(), gguf.tokens.size()));
  }
  const auto size = static_cast<TokenId>(gguf.tokens.size());
  for (const TokenId id : {gguf.bos, gguf.eos, gguf.unk, gguf.pad}) {
    if (id >= size) return Bad(fmt::format("special token {} of {} tokens", id, size));
  }
  if ((gguf.add_bos && gguf.bos < 0) || (gguf.add_eos && gguf.eos < 0)) {
    return Bad("BOS or EOS should be added, but there is no such token");
  }
  for (const std::string& token : gguf.tokens) {
    if (FindInvalidUtf8(token).has_value()) return Bad("a token's spelling is not UTF-8");
  }
  return OkStatus();
}

// Fills the vocabulary with every token, its bytes and whether it is special.
Status AddTokens(const GgufVocabulary& gguf, const DecoderPlan& decoder, TokenizerParts& parts) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < gguf.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    WEFT_RETURN_IF_ERROR(parts.vocabulary.Add(gguf.tokens[i], id));
    const TokenType type = TypeOf(gguf, i);
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (special || type == TokenType::kUserDefined) {
      AddedToken token;
      token.id = id;
      token.content = gguf.tokens[i];
      token.special = special;
      added.push_back(std::move(token));
      parts.vocabulary.SetBytes(id, gguf.tokens[i]);
    } else {
      parts.vocabulary.SetBytes(id, TokenToBytes(decoder, gguf.tokens[i]));
    }
  }
  return parts.SetAddedTokens(added);
}

Status BuildGpt2(const GgufVocabulary& gguf, TokenizerParts& parts) {
  const GgufPreTokenizer* pre = FindGgufPreTokenizer(gguf.pre);
  if (pre == nullptr) {
    return MakeError(ErrorCode::kUnsupported,
                     "GGUF tokenizer: the pre-tokenizer \"{}\" (tokenizer.ggml.pre) is not "
                     "supported; put the model's tokenizer.json beside it",
                     gguf.pre);
  }
  std::vector<PreTokenizerStep> steps;
  for (const std::string_view pattern : pre->patterns) {
    WEFT_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
    steps.emplace_back(SplitText{std::move(regex)});
  }
  steps.emplace_back(SpellBytes{});
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  DecoderPlan decoder;
  decoder.byte_level = true;
  WEFT_RETURN_IF_ERROR(AddTokens(gguf, decoder, parts));
  BpeModel::Merges merges;
  for (const std::string& merge : gguf.merges) {
    const size_t space = merge.find(' ', 1);  // The left token may be a space itself.
    if (space == std::string::npos) {
      return Bad(fmt::format("merge \"{}\" should be two tokens and a space", merge));
    }
    const std::string_view view = merge;
    merges.emplace_back(view.substr(0, space), view.substr(space + 1));
  }
  BpeOptions options;
  options.ignore_merges = pre->ignore_merges;
  WEFT_ASSIGN_OR_RETURN(parts.model, BpeModel::Create(parts.vocabulary, merges, options));
  return OkStatus();
}

Status BuildLlama(const GgufVocabulary& gguf, TokenizerParts& parts) {
  if (gguf.scores.size() != gguf.tokens.size()) {
    return Bad(fmt::format("{} scores for {} tokens", gguf.scores.size(), gguf.tokens.size()));
  }
  std::vector<NormalizerStep> steps;
  if (gguf.add_space_prefix) steps.emplace_back(PrependText{std::string(kMetaspace)});
  WEFT_ASSIGN_OR_RETURN(Regex space, Regex::Literal(" "));
  steps.emplace_back(ReplaceText{std::move(space), std::string(kMetaspace)});
  parts.normalizer = Normalizer(std::move(steps));
  DecoderPlan decoder;
  decoder.byte_fallback = true;
  decoder.space = kMetaspace;
  if (gguf.add_space_prefix) parts.decode_style = DecodeStyle::kDropSpace;
  WEFT_RETURN_IF_ERROR(AddTokens(gguf, decoder, parts));
  parts.model = std::make_unique<ScoreModel>(parts.vocabulary, gguf.scores, gguf.unk);
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<const TokenizerParts>> ReadGgufVocabulary(const GgufVocabulary& gguf) {
  WEFT_RETURN_IF_ERROR(CheckSizes(gguf));
  auto parts = std::make_unique<TokenizerParts>();
  if (gguf.model == "gpt2") {
    WEFT_RETURN_IF_ERROR(BuildGpt2(gguf, *parts));
  } else if (gguf.model == "llama") {
    WEFT_RETURN_IF_ERROR(BuildLlama(gguf, *parts));
  } else {
    return MakeError(ErrorCode::kUnsupported,
                     "GGUF tokenizer: the model \"{}\" (tokenizer.ggml.model) is not supported, "
                     "only \"gpt2\" and \"llama\"",
                     gguf.model);
  }
  parts->bos = gguf.bos;
  parts->eos = gguf.eos;
  if (gguf.add_bos) parts->prefix.push_back(gguf.bos);
  if (gguf.add_eos) parts->suffix.push_back(gguf.eos);
  return std::unique_ptr<const TokenizerParts>(std::move(parts));
}

}  // namespace weft::text
