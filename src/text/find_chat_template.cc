#include <simdjson.h>

#include "text/chat_template.h"
#include "text/json_value.h"

namespace weft::text {
namespace {

using simdjson::dom::element;

constexpr std::string_view kToolUse = "tool_use";

// "bos_token" and the like: a string, or an object with "content".
void ReadSpecialTokens(element config, ChatTemplateSource& source) {
  for (const std::string_view name : {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"}) {
    std::string_view text = JsonString(config, name);
    bool found = false;
    const element value = JsonMember(config, name, found);
    if (found && value.is_object()) text = JsonString(value, "content");
    if (!text.empty()) source.special_tokens.emplace_back(name, text);
  }
}

// [{"name": "default", "template": "..."}, ...].
Status ReadNamedTemplates(simdjson::dom::array list, std::string_view name,
                          ChatTemplateSource& source) {
  const std::string_view wanted = name.empty() ? "default" : name;
  std::string names;
  for (const element item : list) {
    const std::string_view item_name = JsonString(item, "name");
    names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", item_name);
    if (item_name == wanted) source.jinja = std::string(JsonString(item, "template"));
    if (name.empty() && item_name == kToolUse) {
      source.tool_use_jinja = std::string(JsonString(item, "template"));
    }
  }
  if (!source.jinja.empty()) return OkStatus();
  return MakeError(ErrorCode::kNotFound,
                   "tokenizer_config.json: there is no chat template \"{}\", only {}", wanted,
                   names.empty() ? "an empty list" : names);
}

Status ReadConfig(std::string_view json, std::string_view name, ChatTemplateSource& source) {
  simdjson::dom::parser parser;
  element config;
  const auto error = parser.parse(simdjson::padded_string(json)).get(config);
  if (error != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "tokenizer_config.json: {}",
                     simdjson::error_message(error));
  }
  ReadSpecialTokens(config, source);
  if (!source.jinja.empty()) return OkStatus();  // chat_template.jinja goes first.
  bool found = false;
  const element value = JsonMember(config, "chat_template", found);
  if (!found) return OkStatus();
  std::string_view text;
  simdjson::dom::array list;
  if (value.get(text) == simdjson::SUCCESS) {
    source.jinja = std::string(text);
    return OkStatus();
  }
  if (value.get(list) == simdjson::SUCCESS) return ReadNamedTemplates(list, name, source);
  return MakeError(ErrorCode::kInvalidArgument,
                   "tokenizer_config.json: \"chat_template\" should be a string or a list");
}

}  // namespace

Result<std::optional<ChatTemplateSource>> FindChatTemplate(const ChatTemplateFiles& files,
                                                           std::string_view name) {
  ChatTemplateSource source;
  source.jinja = std::string(files.chat_template_jinja);
  if (!files.tokenizer_config_json.empty()) {
    WEFT_RETURN_IF_ERROR(ReadConfig(files.tokenizer_config_json, name, source));
  }
  if (source.jinja.empty()) source.jinja = std::string(files.gguf_chat_template);
  if (source.jinja.empty()) return std::optional<ChatTemplateSource>();
  const auto add = [&](std::string_view key, std::string_view text) {
    for (const auto& [present, value] : source.special_tokens) {
      if (present == key) return;
    }
    if (!text.empty()) source.special_tokens.emplace_back(key, text);
  };
  add("bos_token", files.gguf_bos_token);
  add("eos_token", files.gguf_eos_token);
  return std::optional(std::move(source));
}

}  // namespace weft::text
