#include "text/chat_template.h"

#include <mutex>

#include "text/chat_template_python.h"
#include "text/json_writer.h"
#include "text/python_runtime.h"

namespace weft::text {
namespace {

constexpr const char* kModule = "weft_chat_template";

// The interpreter with the module defined in it.
Result<const PythonRuntime*> Prepare() {
  WEFT_ASSIGN_OR_RETURN(const PythonRuntime* python, PythonRuntime::Get());
  static std::once_flag once;
  static Status defined;
  std::call_once(once, [&] {
    const PythonRuntime::Lock lock(*python);
    defined = python->Define(kModule, kChatTemplatePython);
  });
  if (!defined.ok()) return defined.error();
  return python;
}

// What the module answered: a kind and a text.
Result<std::string> Unwrap(const std::optional<std::string>& answer) {
  if (!answer.has_value() || answer->empty()) {
    return MakeError(ErrorCode::kInternal, "the chat template gave no text");
  }
  const std::string text = answer->substr(1);
  switch (answer->front()) {
    case '=':
      return text;
    case '?':
      return MakeError(ErrorCode::kUnavailable,
                       "chat templates need Jinja2: install python3-jinja2 ({})", text);
    default:
      return MakeError(ErrorCode::kInvalidArgument, "chat template: {}", text);
  }
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::Compile(
    const ChatTemplateSource& source) {
  WEFT_ASSIGN_OR_RETURN(const PythonRuntime* python, Prepare());
  const PythonRuntime::Lock lock(*python);
  const auto jinja = python->Bytes(source.jinja);
  const auto tool_use = python->Bytes(source.tool_use_jinja);
  const auto variables = python->Bytes(WriteJsonObject(source.special_tokens));
  WEFT_ASSIGN_OR_RETURN(
      auto compiled,
      python->Call(kModule, "compile_template", {jinja.get(), tool_use.get(), variables.get()}));
  if (const std::optional<std::string> answer = python->ToString(compiled.get())) {
    const Result<std::string> text = Unwrap(answer);
    return text.ok() ? MakeError(ErrorCode::kInternal, "the chat template did not compile")
                     : text.error();
  }
  return std::shared_ptr<const ChatTemplate>(new ChatTemplate(compiled.Release()));
}

ChatTemplate::~ChatTemplate() {
  const Result<const PythonRuntime*> python = PythonRuntime::Get();
  WEFT_CHECK(python.ok());
  const PythonRuntime::Lock lock(**python);
  (*python)->Drop(renderer_);
}

Result<std::string> ChatTemplate::Render(std::string_view messages_json,
                                         const RenderOptions& options) const {
  WEFT_ASSIGN_OR_RETURN(const PythonRuntime* python, Prepare());
  const PythonRuntime::Lock lock(*python);
  const auto messages = python->Bytes(messages_json);
  const auto tools = python->Bytes(options.tools_json);
  const auto documents = python->Bytes(options.documents_json);
  const auto extra = python->Bytes(options.extra_variables_json);
  const auto prompt = python->Bytes(options.add_generation_prompt ? "1" : "");
  WEFT_ASSIGN_OR_RETURN(const auto answer,
                        python->Call(kModule, "render",
                                     {renderer_, messages.get(), tools.get(), documents.get(),
                                      extra.get(), prompt.get()}));
  return Unwrap(python->ToString(answer.get()));
}

}  // namespace weft::text
