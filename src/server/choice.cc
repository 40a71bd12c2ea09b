#include "server/choice.h"

#include <utility>

namespace weft::server {

std::string_view FinishName(ChoiceFinish::Type type) {
  switch (type) {
    case ChoiceFinish::Type::kStop:
      return "stop";
    case ChoiceFinish::Type::kLength:
      return "length";
    case ChoiceFinish::Type::kAbort:
      return "abort";
  }
  return "abort";
}

Choice::Choice(size_t index, size_t prompt_index, std::string id, const Prompt& prompt,
               std::shared_ptr<const text::Tokenizer> tokenizer)
    : index_(index),
      prompt_index_(prompt_index),
      id_(std::move(id)),
      prompt_(prompt),
      detokenizer_(std::move(tokenizer), prompt.sampling.skip_special_tokens,
                   text::TextPosition::kAfterPrompt),
      matcher_(prompt.sampling.stop, prompt.sampling.include_stop) {}

ChoiceDelta Choice::Consume(engine::RequestEvent& event) {
  ChoiceDelta delta;
  delta.logprobs_from = logprobs_.size();
  if (finish_) return delta;
  if (output_ids_.empty()) cached_tokens_ = event.cached_tokens;
  if (!event.prompt_logprobs.empty()) prompt_logprobs_ = std::move(event.prompt_logprobs);
  if (prompt_.sampling.max_new_tokens == 0) {  // Only the prompt's log-probabilities are wanted.
    event.tokens.clear();
    if (event.finish && event.finish->type == engine::FinishType::kStop)
      event.finish = engine::Finish{engine::FinishType::kLength};
  }
  for (const ops::SampledToken& token : event.tokens) {
    ConsumeToken(token, delta);
    if (finish_) break;
  }
  if (event.finish && !finish_) Finish(*event.finish, delta);
  text_ += delta.text;
  return delta;
}

void Choice::AddToken(const ops::SampledToken& token) {
  output_ids_.push_back(token.token);
  if (prompt_.want_logprobs) logprobs_.push_back(token);
}

void Choice::ConsumeToken(const ops::SampledToken& token, ChoiceDelta& delta) {
  AddToken(token);
  std::string text = detokenizer_.Append(token.token);
  // As vLLM: no stop string is looked for before the least number of tokens is there.
  if (static_cast<int32_t>(output_ids_.size()) <= prompt_.sampling.min_new_tokens) {
    delta.text += text;
    return;
  }
  text::StopStringMatcher::Piece piece = matcher_.Append(text);
  delta.text += piece.text;
  if (!piece.stop_index) return;
  delta.stop_string = true;
  finish_ =
      ChoiceFinish{ChoiceFinish::Type::kStop, -1, matcher_.stop_strings()[*piece.stop_index], ""};
}

void Choice::Finish(const engine::Finish& finish, ChoiceDelta& delta) {
  text::StopStringMatcher::Piece last = matcher_.Append(detokenizer_.Finish());
  delta.text += last.text;
  if (last.stop_index) {
    finish_ =
        ChoiceFinish{ChoiceFinish::Type::kStop, -1, matcher_.stop_strings()[*last.stop_index], ""};
    return;
  }
  delta.text += matcher_.Finish();
  ChoiceFinish mine;
  switch (finish.type) {
    case engine::FinishType::kStop:
      if (!finish.matched) break;
      mine.matched_token = finish.matched->token;
      AddToken(*finish.matched);
      break;
    case engine::FinishType::kLength:
      mine.type = ChoiceFinish::Type::kLength;
      break;
    case engine::FinishType::kAbort:
    case engine::FinishType::kError:
      mine.type = ChoiceFinish::Type::kAbort;
      mine.message = finish.error.message;
      break;
  }
  finish_ = std::move(mine);
}

}  // namespace weft::server
