#include "server/openai_format.h"

#include "server/json_writer.h"
#include "server/usage.h"

namespace weft::server {
namespace {

std::string HeadOf(std::string_view prefix, const OpenAiRequest& request, std::string_view object,
                   int64_t created) {
  std::string head(prefix);
  head += "{\"id\":";
  AppendJsonString(request.id, head);
  head += ",\"object\":";
  AppendJsonString(object, head);
  head += ",\"created\":" + std::to_string(created) + ",\"model\":";
  AppendJsonString(request.model, head);
  head += ",\"choices\":[";
  return head;
}

}  // namespace

void AppendFinishFields(const ChoiceFinish* finish, std::string& to) {
  to += "\"finish_reason\":";
  if (finish == nullptr) {
    to += "null";
    return;
  }
  AppendJsonString(FinishName(finish->type), to);
  std::string matched = "null";
  if (finish->matched_text) {
    matched.clear();
    AppendJsonString(*finish->matched_text, matched);
  } else if (finish->matched_token >= 0) {
    matched = std::to_string(finish->matched_token);
  }
  // vLLM names only what the client asked for; the end of text is null there.
  to += ",\"stop_reason\":";
  to += finish->matched_text ? matched : "null";
  to += ",\"matched_stop\":" + matched;
}

OpenAiFormat::OpenAiFormat(const OpenAiRequest& request, std::string_view object,
                           std::string_view chunk_object, int64_t created,
                           std::shared_ptr<const text::Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)),
      id_(request.id),
      include_usage_(request.include_usage),
      whole_head_(HeadOf("", request, object, created)),
      chunk_head_(HeadOf("data: ", request, chunk_object, created)) {}

void OpenAiFormat::OpenChunk(const Choice& choice, std::string& frames) const {
  frames += chunk_head_;
  frames += "{\"index\":";
  frames += std::to_string(choice.index());
  frames += ',';
}

void OpenAiFormat::CloseChunk(std::string_view logprobs, const ChoiceFinish* finish,
                              std::string& frames) const {
  frames += ",\"logprobs\":";
  frames += logprobs.empty() ? "null" : logprobs;
  frames += ',';
  AppendFinishFields(finish, frames);
  frames += include_usage_ ? "}],\"usage\":null}\n\n" : "}]}\n\n";
}

void OpenAiFormat::AppendEnd(const Choices& choices, std::string& frames) {
  if (!include_usage_) return;
  frames += chunk_head_;
  frames += "],\"usage\":";
  AppendUsage(CountUsage(choices), frames);
  frames += "}\n\n";
}

std::string OpenAiFormat::Whole(const Choices& choices) {
  std::string body = whole_head_;
  for (const Choice& choice : choices) {
    if (&choice != &choices.front()) body += ',';
    AppendWholeChoice(choice, body);
  }
  body += "],\"usage\":";
  AppendUsage(CountUsage(choices), body);
  body += '}';
  return body;
}

}  // namespace weft::server
