#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace weft::server {

void Generation::Start(ShardContext& shard, GenerationPlan plan, std::shared_ptr<Reply> reply) {
  std::set<std::string> adapters;
  for (const Prompt& prompt : plan.prompts)
    if (!prompt.adapter.empty()) adapters.insert(prompt.adapter);
  for (const std::string& adapter : adapters) shard.server.service.WantSoon(adapter);
  std::shared_ptr<Generation> generation(new Generation(shard, std::move(plan), std::move(reply)));
  generation->Prepare();
}

Generation::Generation(ShardContext& shard, GenerationPlan plan, std::shared_ptr<Reply> reply)
    : server_(shard.server),
      poster_(shard.poster),
      events_(shard.events),
      prompts_(std::move(plan.prompts)),
      stream_(plan.stream),
      format_(std::move(plan.format)),
      reply_(std::move(reply)),
      received_(shard.server.clock.Now()) {}

void Generation::Prepare() {
  reply_->OnHangUp([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->done_) return;
    self->done_ = true;
    self->AbortChoices();
    self->reply_.reset();
  });
  const bool only_ids = std::all_of(prompts_.begin(), prompts_.end(), [](const Prompt& prompt) {
    return std::holds_alternative<std::vector<TokenId>>(prompt.source);
  });
  if (only_ids) {  // Checking ids is quicker than a trip to the pool.
    const ApiStatus error = PreparePrompts();
    return error ? Fail(*error) : Submit();
  }
  auto self = shared_from_this();
  const bool queued = server_.text_pool->TrySubmit([self] {
    // Until the post below runs, nobody else touches the prompts.
    ApiStatus error = self->PreparePrompts();
    self->poster_->Post([self, error = std::move(error)] {
      if (self->done_) return;
      if (error) return self->Fail(*error);
      if (self->server_.stopping.load(std::memory_order_relaxed))
        return self->Fail({Error{ErrorCode::kUnavailable, "the server is shutting down"}, "", ""});
      self->Submit();
    });
  });
  if (!queued) {
    Fail({Error{ErrorCode::kResourceExhausted,
                "too many prompts are waiting to be tokenized: try again later"},
          "", ""});
  }
}

ApiStatus Generation::PreparePrompts() {
  for (Prompt& prompt : prompts_)
    if (ApiStatus error = PreparePrompt(server_.prompt_limits(), prompt)) return error;
  return std::nullopt;
}

void Generation::Submit() {
  for (size_t p = 0; p < prompts_.size(); ++p) {
    for (int32_t c = 0; c < prompts_[p].sampling.n; ++c) {
      const size_t index = choices_.size();
      choices_.emplace_back(index, p, format_->ChoiceId(index), prompts_[p], server_.tokenizer);
      requests_.push_back(events_->Submit(BuildRequest(prompts_[p], c), shared_from_this(), index));
    }
  }
}

void Generation::OnEvent(engine::RequestEvent& event, size_t tag) {
  if (done_) return;
  if (event.finish && event.finish->type == engine::FinishType::kError) {
    const std::string& adapter = choices_[tag].prompt().adapter;
    const bool unknown = event.finish->error.code == ErrorCode::kNotFound && !adapter.empty();
    ApiError error{event.finish->error, unknown ? "model" : "", ""};
    if (unknown && format_->style() == ApiStyle::kOpenAi)
      error.error.message +=
          fmt::format("; the base model is '{}'", server_.options.served_model_name);
    return Fail(error);
  }
  Choice& choice = choices_[tag];
  const bool was_finished = choice.finish().has_value();
  const ChoiceDelta delta = choice.Consume(event);
  if (delta.stop_string) events_->FinishAtStopString(requests_[tag]);
  const bool ends = !was_finished && choice.finish();
  if (ends) {
    choice.set_latency(server_.clock.Now() - received_);
    ++finished_;
  }
  if (stream_) Stream(choice, delta);
  if (ends && finished_ == choices_.size()) Complete();
}

void Generation::Stream(const Choice& choice, const ChoiceDelta& delta) {
  if (format_->cumulative() && !choice.finish() && stream_begun_ && reply_->Backlogged()) return;
  std::string frames;
  format_->AppendDelta(choice, delta, frames);
  if (stream_begun_) {
    if (!frames.empty()) reply_->WriteStream(frames);
    return;
  }
  stream_begun_ = true;
  HttpResponse head;
  head.content_type = kEventStream;
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.body = std::move(frames);
  reply_->BeginStream(std::move(head));
}

void Generation::Complete() {
  done_ = true;
  if (!stream_) {
    HttpResponse response;
    response.body = format_->Whole(choices_);
    std::exchange(reply_, nullptr)->Send(std::move(response));
    return;
  }
  std::string frames;
  format_->AppendEnd(choices_, frames);
  frames += kDoneFrame;
  reply_->WriteStream(frames);
  std::exchange(reply_, nullptr)->EndStream();
}

void Generation::Fail(const ApiError& error) {
  done_ = true;
  AbortChoices();
  const auto reply = std::exchange(reply_, nullptr);
  if (!stream_begun_) return reply->Send(ErrorResponse(error, format_->style()));
  reply->WriteStream("data: " + ErrorJson(error, format_->style()) + "\n\n");
  reply->WriteStream(kDoneFrame);
  reply->EndStream();
}

void Generation::AbortChoices() {
  for (const RequestId id : requests_) events_->Abort(id);
}

}  // namespace weft::server
