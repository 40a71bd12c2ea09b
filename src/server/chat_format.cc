#include "server/json_writer.h"
#include "server/openai_format.h"
#include "server/openai_logprobs.h"

namespace weft::server {

ChatFormat::ChatFormat(const OpenAiRequest& request, int64_t created,
                       std::shared_ptr<const text::Tokenizer> tokenizer)
    : OpenAiFormat(request, "chat.completion", "chat.completion.chunk", created,
                   std::move(tokenizer)),
      logprobs_(request.logprobs) {}

void ChatFormat::AppendDelta(const Choice& choice, const ChoiceDelta& delta, std::string& frames) {
  if (begun_.size() <= choice.index()) begun_.resize(choice.index() + 1);
  if (!begun_[choice.index()]) {
    begun_[choice.index()] = true;
    OpenChunk(choice, frames);
    frames += R"("delta":{"role":"assistant","content":""})";
    CloseChunk("", nullptr, frames);
  }
  const auto tokens = std::span(choice.logprobs()).subspan(delta.logprobs_from);
  if (!delta.text.empty() || !tokens.empty()) {
    OpenChunk(choice, frames);
    frames += R"("delta":{"content":)";
    AppendJsonString(delta.text, frames);
    frames += '}';
    CloseChunk(logprobs_ ? ChatLogprobsJson(tokenizer(), tokens) : "", nullptr, frames);
  }
  if (choice.finish()) {
    OpenChunk(choice, frames);
    frames += R"("delta":{})";
    CloseChunk("", &*choice.finish(), frames);
  }
}

void ChatFormat::AppendWholeChoice(const Choice& choice, std::string& to) const {
  JsonWriter writer(to);
  writer.BeginObject().Key("index").Integer(static_cast<int64_t>(choice.index()));
  writer.Key("message").BeginObject().Key("role").String("assistant");
  writer.Key("content").String(choice.text()).Key("refusal").Null().EndObject();
  writer.Key("logprobs");
  if (logprobs_) {
    writer.Raw(ChatLogprobsJson(tokenizer(), choice.logprobs()));
  } else {
    writer.Null();
  }
  to += ',';
  AppendFinishFields(&*choice.finish(), to);
  writer.EndObject();
}

}  // namespace weft::server
