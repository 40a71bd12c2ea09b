#include "checkpoint/gguf_vocabulary.h"

#include <algorithm>
#include <utility>

namespace weft::checkpoint {
namespace {

template <typename T>
const std::vector<T>* FindArray(const GgufHeader& header, std::string_view key) {
  const auto* array = header.Find<GgufArray>(key);
  return array == nullptr ? nullptr : std::get_if<std::vector<T>>(array);
}

std::string Text(const GgufHeader& header, std::string_view key) {
  const auto* value = header.Find<std::string>(key);
  return value == nullptr ? std::string() : *value;
}

bool Flag(const GgufHeader& header, std::string_view key, bool fallback) {
  const auto* value = header.Find<bool>(key);
  return value == nullptr ? fallback : *value;
}

Result<TokenId> Token(const GgufHeader& header, std::string_view key, size_t tokens,
                      std::string_view name) {
  const auto* id = header.Find<int64_t>(key);
  if (id == nullptr || *id == -1 || *id == UINT32_MAX) return TokenId{-1};
  if (*id < 0 || static_cast<uint64_t>(*id) >= tokens) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: '{}' is {}, but the vocabulary has {} tokens", name, key, *id, tokens);
  }
  return static_cast<TokenId>(*id);
}

/// What llama.cpp assumes where the file does not say: sentencepiece vocabularies begin with BOS,
/// and so do Llama 3's and Mistral's byte-level ones.
bool AddsBosByDefault(const GgufVocabulary& vocabulary) {
  constexpr std::string_view kWithBos[] = {"llama3", "llama-v3", "llama-bpe", "tekken"};
  return vocabulary.model == "llama" ||
         std::find(std::begin(kWithBos), std::end(kWithBos), vocabulary.pre) != std::end(kWithBos);
}

}  // namespace

Result<GgufVocabulary> ParseGgufVocabulary(const GgufHeader& header, std::string_view name) {
  GgufVocabulary vocabulary;
  vocabulary.model = Text(header, "tokenizer.ggml.model");
  vocabulary.pre = Text(header, "tokenizer.ggml.pre");
  const auto* tokens = FindArray<std::string>(header, "tokenizer.ggml.tokens");
  if (vocabulary.model.empty() || tokens == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: the metadata has no tokenizer ('tokenizer.ggml.model' and "
                     "'tokenizer.ggml.tokens')",
                     name);
  }
  vocabulary.tokens = *tokens;
  const size_t count = tokens->size();
  if (const auto* types = FindArray<int64_t>(header, "tokenizer.ggml.token_type")) {
    for (int64_t type : *types) vocabulary.types.push_back(static_cast<int32_t>(type));
  }
  if (const auto* scores = FindArray<double>(header, "tokenizer.ggml.scores")) {
    for (double score : *scores) vocabulary.scores.push_back(static_cast<float>(score));
  }
  if ((!vocabulary.types.empty() && vocabulary.types.size() != count) ||
      (!vocabulary.scores.empty() && vocabulary.scores.size() != count)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: the tokenizer has {} tokens, but {} types and {} scores", name, count,
                     vocabulary.types.size(), vocabulary.scores.size());
  }
  if (const auto* merges = FindArray<std::string>(header, "tokenizer.ggml.merges")) {
    vocabulary.merges = *merges;
  }
  WEFT_ASSIGN_OR_RETURN(vocabulary.bos, Token(header, "tokenizer.ggml.bos_token_id", count, name));
  WEFT_ASSIGN_OR_RETURN(vocabulary.eos, Token(header, "tokenizer.ggml.eos_token_id", count, name));
  WEFT_ASSIGN_OR_RETURN(vocabulary.unk,
                        Token(header, "tokenizer.ggml.unknown_token_id", count, name));
  WEFT_ASSIGN_OR_RETURN(vocabulary.pad,
                        Token(header, "tokenizer.ggml.padding_token_id", count, name));
  vocabulary.add_bos = Flag(header, "tokenizer.ggml.add_bos_token", AddsBosByDefault(vocabulary));
  vocabulary.add_eos = Flag(header, "tokenizer.ggml.add_eos_token", false);
  vocabulary.add_space_prefix = Flag(header, "tokenizer.ggml.add_space_prefix", true);
  return vocabulary;
}

}  // namespace weft::checkpoint
