#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::text {

/// What a request adds to its messages.
struct RenderOptions {
  bool add_generation_prompt = true;
  std::string tools_json;      ///< A JSON list; empty: none.
  std::string documents_json;  ///< A JSON list; empty: none.
  /// A JSON object with further variables ("chat_template_kwargs", say {"enable_thinking": false}).
  std::string extra_variables_json;
};

/// The source of a model's chat template and the special tokens that it may name.
struct ChatTemplateSource {
  std::string jinja;
  std::string tool_use_jinja;  ///< Taken instead when a request has tools; empty: none.
  /// ("bos_token", "<s>") and so on.
  std::vector<std::pair<std::string, std::string>> special_tokens;
};

/// Where a chat template can be found; whatever is absent is empty.
struct ChatTemplateFiles {
  std::string_view chat_template_jinja;    ///< The content of chat_template.jinja.
  std::string_view tokenizer_config_json;  ///< The content of tokenizer_config.json.
  std::string_view gguf_chat_template;     ///< tokenizer.chat_template of a GGUF file.
  std::string_view gguf_bos_token;         ///< The text of a GGUF's BOS token; its EOS token's.
  std::string_view gguf_eos_token;
};

/// The template in the order transformers looks: chat_template.jinja, then tokenizer_config.json
/// (one template, or a list of named ones of which `name` is taken, "default" if empty), then the
/// GGUF's. nullopt: the model has none. An error: the file is malformed or has no template `name`.
Result<std::optional<ChatTemplateSource>> FindChatTemplate(const ChatTemplateFiles& files,
                                                           std::string_view name = "");

/// A Jinja2 chat template, rendered as transformers' apply_chat_template does.
///
/// Jinja2 runs in a CPython that is embedded when the first template is compiled: any libpython3 of
/// 3.8 or newer, opened with dlopen and used through its limited API. Any thread may render; the
/// interpreter runs one at a time, about 50 us each. Blocking: not for the engine thread.
class ChatTemplate {
 public:
  /// kUnavailable when there is no libpython3 or no jinja2 (the message says what to install);
  /// kInvalidArgument when the template does not compile.
  static Result<std::shared_ptr<const ChatTemplate>> Compile(const ChatTemplateSource& source);
  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  /// The prompt for a JSON list of messages. It usually begins with BOS already: tokenize it with
  /// SpecialTokens::kDoNotAdd. kInvalidArgument with the template's own message when it calls
  /// raise_exception or fails.
  Result<std::string> Render(std::string_view messages_json, const RenderOptions& options) const;

 private:
  explicit ChatTemplate(void* renderer) : renderer_(renderer) {}

  void* renderer_;  // A Python object that this owns one reference of.
};

}  // namespace weft::text
