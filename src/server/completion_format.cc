#include "server/json_writer.h"
#include "server/openai_format.h"
#include "server/openai_logprobs.h"

namespace weft::server {

CompletionFormat::CompletionFormat(const OpenAiRequest& request, int64_t created,
                                   std::shared_ptr<const text::Tokenizer> tokenizer)
    : OpenAiFormat(request, "text_completion", "text_completion", created, std::move(tokenizer)),
      echo_(request.echo),
      logprobs_(request.logprobs) {}

std::string CompletionFormat::PromptText(const Choice& choice) const {
  const Prompt& prompt = choice.prompt();
  if (const auto* text = std::get_if<std::string>(&prompt.source)) return *text;
  return tokenizer().Decode(prompt.tokens, true);
}

void CompletionFormat::AppendDelta(const Choice& choice, const ChoiceDelta& delta,
                                   std::string& frames) {
  if (sent_.size() <= choice.index()) sent_.resize(choice.index() + 1);
  Sent& sent = sent_[choice.index()];
  const bool echo_now = echo_ && !sent.begun;
  sent.begun = true;
  const auto tokens = std::span(choice.logprobs()).subspan(delta.logprobs_from);
  if (delta.text.empty() && tokens.empty() && !echo_now && !choice.finish()) return;

  std::string logprobs;
  if (logprobs_) {
    CompletionLogprobs lists(tokenizer(), sent.characters);
    if (echo_now) lists.Add(choice.prompt_logprobs());
    lists.Add(tokens);
    sent.characters = lists.offset();
    logprobs = lists.Json();
  }
  OpenChunk(choice, frames);
  frames += "\"text\":";
  AppendJsonString(echo_now ? PromptText(choice) + delta.text : delta.text, frames);
  CloseChunk(logprobs, choice.finish() ? &*choice.finish() : nullptr, frames);
}

void CompletionFormat::AppendWholeChoice(const Choice& choice, std::string& to) const {
  std::string logprobs = "null";
  if (logprobs_) {
    CompletionLogprobs lists(tokenizer(), 0);
    if (echo_) lists.Add(choice.prompt_logprobs());
    lists.Add(choice.logprobs());
    logprobs = lists.Json();
  }
  JsonWriter writer(to);
  writer.BeginObject().Key("index").Integer(static_cast<int64_t>(choice.index()));
  writer.Key("text").String(echo_ ? PromptText(choice) + choice.text() : choice.text());
  writer.Key("logprobs").Raw(logprobs);
  to += ',';
  AppendFinishFields(&*choice.finish(), to);
  writer.EndObject();
}

}  // namespace weft::server
