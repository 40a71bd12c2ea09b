#include "bench/stream_event.h"

namespace weft::bench {
namespace {

using simdjson::SUCCESS;
using simdjson::dom::element;

constexpr size_t kShownBytes = 200;

std::string_view StringAt(const element& parent, std::string_view key) {
  std::string_view text;
  return parent[key].get_string().get(text) == SUCCESS ? text : std::string_view();
}

std::optional<int64_t> CompletionTokens(const element& event, std::string_view holder) {
  int64_t tokens = 0;
  if (event[holder]["completion_tokens"].get_int64().get(tokens) != SUCCESS) return std::nullopt;
  return tokens;
}

Error ErrorOf(const element& error) {
  const std::string_view message = StringAt(error, "message");
  return MakeError(ErrorCode::kInternal, "the server sent an error: {}",
                   message.empty() ? simdjson::minify(error) : std::string(message));
}

StreamEvent OpenAiEvent(const element& event, Protocol protocol) {
  StreamEvent parsed;
  parsed.completion_tokens = CompletionTokens(event, "usage");
  element choice;
  if (event["choices"].at(0).get(choice) != SUCCESS) return parsed;  // A chunk of usage alone.
  if (protocol == Protocol::kOpenAiCompletions) {
    parsed.text = StringAt(choice, "text");
    return parsed;
  }
  element message;
  if (choice["delta"].get(message) == SUCCESS || choice["message"].get(message) == SUCCESS) {
    parsed.text = StringAt(message, "content");
  }
  return parsed;
}

}  // namespace

Result<StreamEvent> StreamEventParser::Parse(Protocol protocol, std::string_view json) {
  element event;
  const auto error = parser_.parse(json.data(), json.size()).get(event);
  if (error != SUCCESS || !event.is_object()) {
    return MakeError(ErrorCode::kInternal, "the server sent no JSON object: {}",
                     json.substr(0, kShownBytes));
  }
  element problem;
  if (event["error"].get(problem) == SUCCESS && !problem.is_null()) return ErrorOf(problem);
  if (protocol != Protocol::kSglangGenerate) return OpenAiEvent(event, protocol);
  StreamEvent parsed;
  parsed.text = StringAt(event, "text");
  parsed.completion_tokens = CompletionTokens(event, "meta_info");
  return parsed;
}

}  // namespace weft::bench
