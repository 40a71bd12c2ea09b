#include "cli/model_text.h"

#include <filesystem>
#include <utility>

namespace weft::cli {
namespace {

using TokenizerResult = Result<std::shared_ptr<const text::Tokenizer>>;

text::GgufVocabulary ToText(const checkpoint::GgufVocabulary& from) {
  return {
      from.model, from.pre, from.tokens, from.types,   from.scores,  from.merges,          from.bos,
      from.eos,   from.unk, from.pad,    from.add_bos, from.add_eos, from.add_space_prefix};
}

TokenizerResult TokenizerAt(FileSystem& files, std::string path,
                            const std::string& tokenizer_config_json) {
  if (std::filesystem::is_directory(path)) path += "/tokenizer.json";
  WEFT_ASSIGN_OR_RETURN(const std::string json, files.ReadText(path));
  return text::Tokenizer::FromTokenizerJson(json, tokenizer_config_json);
}

TokenizerResult OwnTokenizer(const checkpoint::ModelFiles& model) {
  if (!model.tokenizer_json.empty())
    return text::Tokenizer::FromTokenizerJson(model.tokenizer_json, model.tokenizer_config_json);
  if (!model.tokenizer_model.empty())
    return text::Tokenizer::FromSentencePiece(model.tokenizer_model, model.tokenizer_config_json);
  if (model.gguf_vocabulary) return text::Tokenizer::FromGguf(ToText(*model.gguf_vocabulary));
  return MakeError(ErrorCode::kNotFound,
                   "'{}' has no tokenizer.json; name a folder that has one with --tokenizer-path",
                   model.path);
}

}  // namespace

Result<ModelText> LoadModelText(FileSystem& files, const checkpoint::ModelFiles& model,
                                const std::string& tokenizer_path,
                                const std::string& chat_template) {
  ModelText made;
  WEFT_ASSIGN_OR_RETURN(made.tokenizer,
                        tokenizer_path.empty()
                            ? OwnTokenizer(model)
                            : TokenizerAt(files, tokenizer_path, model.tokenizer_config_json));
  std::string jinja = model.chat_template_jinja;
  if (!chat_template.empty()) {
    WEFT_ASSIGN_OR_RETURN(jinja, files.ReadText(chat_template));
  }
  text::ChatTemplateFiles sources;
  sources.chat_template_jinja = jinja;
  sources.tokenizer_config_json = model.tokenizer_config_json;
  sources.gguf_chat_template = model.gguf_chat_template;
  if (model.gguf_vocabulary && tokenizer_path.empty()) {
    sources.gguf_bos_token = made.tokenizer->TokenText(model.gguf_vocabulary->bos);
    sources.gguf_eos_token = made.tokenizer->TokenText(model.gguf_vocabulary->eos);
  }
  WEFT_ASSIGN_OR_RETURN(const auto source, text::FindChatTemplate(sources));
  if (!source) return made;
  auto compiled = text::ChatTemplate::Compile(*source);
  if (compiled.ok()) {
    made.chat_template = *std::move(compiled);
  } else {
    made.warning = "/v1/chat/completions will not work: " + compiled.error().message;
  }
  return made;
}

}  // namespace weft::cli
