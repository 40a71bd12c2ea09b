#include "bench/prompt_tokenizer.h"

#include <simdjson.h>

#include "checkpoint/model_files.h"
#include "text/tokenizer.h"

namespace weft::bench {
namespace {

class TextTokenizer final : public PromptTokenizer {
 public:
  TextTokenizer(std::shared_ptr<const text::Tokenizer> tokenizer, int32_t vocabulary_size)
      : tokenizer_(std::move(tokenizer)), vocabulary_size_(vocabulary_size) {}

  Result<std::vector<TokenId>> Encode(std::string_view text,
                                      bool add_special_tokens) const override {
    return tokenizer_->Encode(
        text, add_special_tokens ? text::SpecialTokens::kAdd : text::SpecialTokens::kDoNotAdd);
  }
  std::string Decode(std::span<const TokenId> ids) const override {
    return tokenizer_->Decode(ids, /*skip_special_tokens=*/false);
  }
  int32_t vocabulary_size() const override { return vocabulary_size_; }
  int32_t num_special_tokens_to_add() const override {
    return tokenizer_->num_special_tokens_to_add();
  }

 private:
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  int32_t vocabulary_size_;
};

/// Entries of "model"."vocab": tokens that were only added ("added_tokens") do not count.
int32_t BaseVocabularySize(const std::string& tokenizer_json, int32_t otherwise) {
  simdjson::dom::parser parser;
  simdjson::dom::element vocabulary;
  if (parser.parse(tokenizer_json)["model"]["vocab"].get(vocabulary) != simdjson::SUCCESS) {
    return otherwise;
  }
  int32_t size = 0;
  if (simdjson::dom::object object; vocabulary.get_object().get(object) == simdjson::SUCCESS) {
    // object.size() saturates at 2^24 - 1, far above any vocabulary.
    size = static_cast<int32_t>(object.size());
  } else if (simdjson::dom::array array; vocabulary.get_array().get(array) == simdjson::SUCCESS) {
    size = static_cast<int32_t>(array.size());
  }
  return size > 0 ? size : otherwise;
}

Result<std::unique_ptr<PromptTokenizer>> FromJson(const std::string& json,
                                                  const std::string& config_json,
                                                  const std::string& path) {
  auto tokenizer = text::Tokenizer::FromTokenizerJson(json, config_json);
  if (!tokenizer) return tokenizer.error().WithContext(path);
  const int32_t size = BaseVocabularySize(json, (*tokenizer)->vocabulary_size());
  return std::unique_ptr<PromptTokenizer>(
      std::make_unique<TextTokenizer>(std::move(*tokenizer), size));
}

Result<std::unique_ptr<PromptTokenizer>> FromGguf(FileSystem& files, const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const auto model, checkpoint::OpenModelConfigOnly(files, path));
  if (!model.gguf_vocabulary) {
    return MakeError(ErrorCode::kNotFound, "{}: has no tokenizer; name one with --tokenizer", path);
  }
  const checkpoint::GgufVocabulary& from = *model.gguf_vocabulary;
  text::GgufVocabulary vocabulary;
  vocabulary.model = from.model;
  vocabulary.pre = from.pre;
  vocabulary.tokens = from.tokens;
  vocabulary.types = from.types;
  vocabulary.scores = from.scores;
  vocabulary.merges = from.merges;
  vocabulary.bos = from.bos;
  vocabulary.eos = from.eos;
  vocabulary.unk = from.unk;
  vocabulary.pad = from.pad;
  vocabulary.add_bos = from.add_bos;
  vocabulary.add_eos = from.add_eos;
  vocabulary.add_space_prefix = from.add_space_prefix;
  auto tokenizer = text::Tokenizer::FromGguf(vocabulary);
  if (!tokenizer) return tokenizer.error().WithContext(path);
  const int32_t size = (*tokenizer)->vocabulary_size();
  return std::unique_ptr<PromptTokenizer>(
      std::make_unique<TextTokenizer>(std::move(*tokenizer), size));
}

}  // namespace

Result<std::unique_ptr<PromptTokenizer>> OpenPromptTokenizer(FileSystem& files,
                                                             const std::string& path) {
  auto resolved = checkpoint::ResolveModelPath(files, path, checkpoint::HuggingFaceCacheRoot());
  if (!resolved) {
    return MakeError(resolved.error().code,
                     "no tokenizer at '{}'; name the model's directory with --model or --tokenizer",
                     path);
  }
  if (resolved->ends_with(".gguf")) return FromGguf(files, *resolved);
  if (resolved->ends_with(".json")) {
    WEFT_ASSIGN_OR_RETURN(const std::string json, files.ReadText(*resolved));
    return FromJson(json, "", *resolved);
  }
  const std::string json_path = *resolved + "/tokenizer.json";
  if (!files.Stat(json_path).ok()) {
    return MakeError(ErrorCode::kNotFound,
                     "{} has no tokenizer.json; name a directory or file that has one with "
                     "--tokenizer",
                     *resolved);
  }
  WEFT_ASSIGN_OR_RETURN(const std::string json, files.ReadText(json_path));
  std::string config;
  if (const auto read = files.ReadText(*resolved + "/tokenizer_config.json"); read) config = *read;
  return FromJson(json, config, json_path);
}

}  // namespace weft::bench
