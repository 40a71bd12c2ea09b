#include "server/generate_format.h"

#include <cmath>

#include "server/json_writer.h"

namespace weft::server {
namespace {

/// The one version of the base model's weights; SGLang's name for it.
constexpr std::string_view kWeightVersion = "default";

void AppendFinishReason(const Choice& choice, JsonWriter& writer) {
  const auto& finish = choice.finish();
  if (!finish) {
    writer.Null();
    return;
  }
  writer.BeginObject().Key("type").String(FinishName(finish->type));
  switch (finish->type) {
    case ChoiceFinish::Type::kStop:
      writer.Key("matched");
      if (finish->matched_text) {
        writer.String(*finish->matched_text);
      } else {
        writer.Integer(finish->matched_token);
      }
      break;
    case ChoiceFinish::Type::kLength:
      writer.Key("length").Integer(static_cast<int64_t>(choice.output_ids().size()));
      break;
    case ChoiceFinish::Type::kAbort:
      writer.Key("message").String(finish->message.empty() ? "Aborted" : finish->message);
      break;
  }
  writer.EndObject();
}

/// Writes lists of [logprob, id, text].
class LogprobWriter {
 public:
  LogprobWriter(const text::Tokenizer& tokenizer, bool with_text, JsonWriter& writer)
      : tokenizer_(tokenizer), with_text_(with_text), writer_(writer) {}

  void Entry(std::optional<float> logprob, TokenId id) {
    writer_.BeginArray();
    if (logprob) {
      writer_.Number(*logprob);
    } else {
      writer_.Null();
    }
    writer_.Integer(id);
    if (with_text_) {
      writer_.String(tokenizer_.Decode(std::span(&id, 1), false));
    } else {
      writer_.Null();
    }
    writer_.EndArray();
  }

  // SGLang gives the first position of a prompt no log-probability, wherever it starts.
  void Tokens(std::string_view key, const std::vector<ops::SampledToken>& tokens, bool of_prompt) {
    writer_.Key(key).BeginArray();
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool none = of_prompt && i == 0;
      Entry(none ? std::nullopt : std::optional(tokens[i].logprob), tokens[i].token);
    }
    writer_.EndArray();
  }

  void Tops(std::string_view key, const std::vector<ops::SampledToken>& tokens, bool of_prompt) {
    writer_.Key(key).BeginArray();
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (of_prompt && i == 0) {
        writer_.Null();
        continue;
      }
      writer_.BeginArray();
      for (const auto& [id, logprob] : tokens[i].top) Entry(logprob, id);
      writer_.EndArray();
    }
    writer_.EndArray();
  }

 private:
  const text::Tokenizer& tokenizer_;
  const bool with_text_;
  JsonWriter& writer_;
};

}  // namespace

GenerateFormat::GenerateFormat(const GenerateRequest& request,
                               std::shared_ptr<const text::Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)),
      rids_(request.rids),
      choices_per_prompt_(static_cast<size_t>(request.prompts.front().sampling.n)),
      as_list_(request.as_list),
      text_in_logprobs_(request.text_in_logprobs) {}

std::string GenerateFormat::ChoiceId(size_t index) const {
  // As SGLang, each of several choices has an id of its own.
  return choices_per_prompt_ > 1 ? RandomHexId() : rids_[index];
}

void GenerateFormat::AppendLogprobs(const Choice& choice, JsonWriter& writer) const {
  LogprobWriter logprobs(*tokenizer_, text_in_logprobs_, writer);
  logprobs.Tokens("input_token_logprobs", choice.prompt_logprobs(), true);
  logprobs.Tokens("output_token_logprobs", choice.logprobs(), false);
  if (choice.prompt().top_logprobs > 0) {
    logprobs.Tops("input_top_logprobs", choice.prompt_logprobs(), true);
    logprobs.Tops("output_top_logprobs", choice.logprobs(), false);
  }
}

void GenerateFormat::AppendOutput(const Choice& choice, bool with_index, std::string& to) const {
  JsonWriter writer(to);
  writer.BeginObject().Key("text").String(choice.text());
  writer.Key("output_ids").BeginArray();
  for (const TokenId id : choice.output_ids()) writer.Integer(id);
  writer.EndArray().Key("meta_info").BeginObject();
  writer.Key("id").String(choice.id()).Key("finish_reason");
  AppendFinishReason(choice, writer);
  writer.Key("prompt_tokens").Integer(static_cast<int64_t>(choice.prompt().tokens.size()));
  writer.Key("weight_version").String(kWeightVersion);
  if (choice.prompt().want_logprobs) AppendLogprobs(choice, writer);
  writer.Key("completion_tokens").Integer(static_cast<int64_t>(choice.output_ids().size()));
  writer.Key("cached_tokens").Integer(choice.cached_tokens());
  if (choice.finish()) writer.Key("e2e_latency").Number(Seconds(choice.latency()));
  writer.EndObject();
  if (with_index) writer.Key("index").Integer(static_cast<int64_t>(choice.index()));
  writer.EndObject();
}

void GenerateFormat::AppendDelta(const Choice& choice, const ChoiceDelta&, std::string& frames) {
  frames += "data: ";
  AppendOutput(choice, as_list_, frames);
  frames += "\n\n";
}

std::string GenerateFormat::Whole(const Choices& choices) {
  std::string body;
  if (!as_list_) {
    AppendOutput(choices.front(), false, body);
    return body;
  }
  char separator = '[';
  for (const Choice& choice : choices) {
    body += separator;
    AppendOutput(choice, false, body);
    separator = ',';
  }
  body += ']';
  return body;
}

}  // namespace weft::server
