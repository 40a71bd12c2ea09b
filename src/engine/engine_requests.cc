// From a request's arrival to its last event.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/philox.h"
#include "engine/engine.h"

namespace weft::engine {
namespace {

std::string_view FinishName(FinishType type) {
  switch (type) {
    case FinishType::kStop:
      return "stop";
    case FinishType::kLength:
      return "length";
    case FinishType::kAbort:
      return "abort";
    case FinishType::kError:
      return "error";
  }
  WEFT_CHECK(false);
}

constexpr int32_t kMaxTopLogprobs = 20;

}  // namespace

void Engine::On(SubmitMessage message) {
  Status status = CheckRequest(message.request);
  adapter::AdapterRecord* record = nullptr;
  if (status.ok() && !message.request.adapter.empty()) {
    auto resolved = adapters_.Resolve(message.request.adapter);
    if (resolved.ok()) {
      record = *resolved;
    } else {
      status = resolved.error();
    }
  }
  if (status.ok()) {
    const auto tokens = static_cast<int32_t>(message.request.prompt.size());
    FitDefault(message.request, tokens, record);
    status = CheckFits(tokens + message.request.max_new_tokens, record);
  }
  if (!status.ok()) {
    Refuse(message, status.error());
    return;
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->adapter = record;
  if (record != nullptr) {
    ++record->users;
    ++record->waiting;
    adapters_.Watch(*record);
    sequence->adapter_waited = !record->ready();
    if (record->residency.device == adapter::DeviceTier::kCopying) adapters_.Promote(*record);
  }
  Prepare(*sequence, std::move(message));
  waiting_.emplace(sequence->id, sequence.get());
  sequences_.emplace(sequence->id, std::move(sequence));
}

Status Engine::CheckRequest(const GenerationRequest& request) const {
  if (draining_) {
    return MakeError(ErrorCode::kUnavailable,
                     "the server is shutting down; send the request elsewhere");
  }
  const auto queued = std::count_if(waiting_.begin(), waiting_.end(), [](const auto& entry) {
    return entry.second->state == SequenceState::kWaiting;
  });
  if (queued >= options_.max_queued) {
    return MakeError(ErrorCode::kResourceExhausted,
                     "{} requests are queued already (--max-queued-requests); try again later",
                     queued);
  }
  if (request.prompt.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "the prompt is empty; send at least one token");
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= config_.vocabulary) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "token id {} is not in the vocabulary; ids are 0 to {}", token,
                       config_.vocabulary - 1);
    }
  }
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (token < 0 || token >= config_.vocabulary || !std::isfinite(bias)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "logit_bias of {} for token {}; ids are 0 to {} and biases finite numbers",
                       bias, token, config_.vocabulary - 1);
    }
  }
  if (request.max_new_tokens < 1 || request.min_new_tokens < 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "max_new_tokens is {} and min_new_tokens {}; they must be at least 1 and 0",
                     request.max_new_tokens, request.min_new_tokens);
  }
  if (request.top_logprobs < 0 || request.top_logprobs > kMaxTopLogprobs) {
    return MakeError(ErrorCode::kInvalidArgument, "top_logprobs is {}; it must be 0 to {}",
                     request.top_logprobs, kMaxTopLogprobs);
  }
  const int64_t total = static_cast<int64_t>(request.prompt.size()) + request.max_new_tokens;
  if (total > options_.context_length) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the prompt has {} tokens and {} new ones are asked for, together {}, but the "
                     "context length is {}; shorten the prompt or ask for fewer tokens",
                     request.prompt.size(), request.max_new_tokens, total, options_.context_length);
  }
  return OkStatus();
}

int32_t Engine::RoomFor(const adapter::AdapterRecord* adapter, int32_t more_pinned) const {
  const bool pinned = adapter != nullptr && adapter->pinned;
  return pool_.total() - adapters_.PinnedPages() - more_pinned +
         (pinned ? adapter->image_pages() : 0);
}

void Engine::FitDefault(GenerationRequest& request, int32_t prompt_tokens,
                        const adapter::AdapterRecord* adapter) const {
  if (!request.max_is_default) return;
  const int32_t pages = RoomFor(adapter) - (adapter == nullptr ? 0 : adapter->image_pages());
  const int64_t left = int64_t{pages} * options_.limits.tokens_per_page - 1 - prompt_tokens;
  const int64_t least = std::max(request.min_new_tokens, 1);
  request.max_new_tokens =
      static_cast<int32_t>(std::min<int64_t>(request.max_new_tokens, std::max(left, least)));
}

Status Engine::CheckFits(int32_t tokens, const adapter::AdapterRecord* adapter,
                         int32_t more_pinned) const {
  const int32_t adapter_pages = adapter == nullptr ? 0 : adapter->image_pages();
  const int32_t pages = options_.limits.PagesFor(tokens + 1);
  const int32_t room = RoomFor(adapter, more_pinned);
  if (pages + adapter_pages <= room) return OkStatus();
  return MakeError(
      ErrorCode::kInvalidArgument,
      "{} tokens take {} pages and the adapter {}, but the pool has {}{}; ask for fewer "
      "tokens, or start the server with more --kv-memory",
      tokens, pages, adapter_pages, room, room < pool_.total() ? " beside pinned adapters" : "");
}

void Engine::Refuse(const SubmitMessage& message, const Error& error) {
  RequestEvent event;
  event.id = message.id;
  event.finish = engine::Finish{FinishType::kError, error};
  ++statistics_.stats().requests_total["error"];
  outbox_[message.sink].push_back(std::move(event));
}

void Engine::Prepare(Sequence& sequence, SubmitMessage message) {
  sequence.id = message.id;
  sequence.request = std::move(message.request);
  sequence.sink = std::move(message.sink);
  sequence.arrived = message.arrived;
  sequence.stands_since = message.arrived;
  sequence.tokens = std::make_shared<std::vector<TokenId>>(std::move(sequence.request.prompt));
  sequence.prompt_count = sequence.known();
  sequence.tokens->reserve(static_cast<size_t>(sequence.prompt_count) +
                           static_cast<size_t>(sequence.request.max_new_tokens));
  auto sampling = std::make_shared<ops::SamplingParams>(sequence.request.sampling);
  if (!sequence.request.has_seed) {
    const auto draw = static_cast<uint32_t>(seeds_drawn_++);
    const auto bits = Philox({draw, 0, 0, 0}, {static_cast<uint32_t>(options_.seed),
                                               static_cast<uint32_t>(options_.seed >> 32)});
    sampling->seed = (static_cast<uint64_t>(bits[1]) << 32) | bits[0];
  }
  sequence.sampling = std::move(sampling);
  if (sequence.request.min_new_tokens > 0) {
    auto forbidden = std::make_shared<std::vector<TokenId>>(config_.end_tokens);
    forbidden->insert(forbidden->end(), sequence.request.stop_token_ids.begin(),
                      sequence.request.stop_token_ids.end());
    std::erase_if(*forbidden, [this](TokenId id) { return id < 0 || id >= config_.vocabulary; });
    sequence.forbidden = std::move(forbidden);
  }
  if (sequence.request.prompt_logprobs_from == 0) {
    ops::SampledToken first;
    first.token = sequence.tokens->front();
    first.logprob = std::numeric_limits<float>::quiet_NaN();
    sequence.prompt_logprobs.push_back(std::move(first));
  }
}

void Engine::On(const AbortMessage& message) {
  const auto found = sequences_.find(message.id);
  if (found == sequences_.end() || found->second->state == SequenceState::kEnding) return;
  if (message.stop_string) {
    Finish(*found->second, engine::Finish{FinishType::kStop});
  } else {
    Abort(*found->second);
  }
}

void Engine::On(const AbortByClientIdMessage& message) {
  std::vector<Sequence*> matching;
  for (auto& [id, sequence] : sequences_) {
    if (message.client_id.empty() || sequence->request.client_id == message.client_id) {
      matching.push_back(sequence.get());
    }
  }
  for (Sequence* sequence : matching) Abort(*sequence);
}

void Engine::On(const DrainMessage&) {
  draining_ = true;
  for (auto& [version, done] : std::exchange(awaiting_load_, {})) {
    adapter::AdapterRecord& record = *adapters_.Find(version);
    record.awaited = false;
    adapters_.Unload(record);
    done(MakeError(ErrorCode::kUnavailable, "the server is shutting down; load '{}' elsewhere",
                   record.name));
  }
}

void Engine::Abort(Sequence& sequence) {
  if (sequence.state == SequenceState::kEnding) return;
  Finish(sequence, engine::Finish{FinishType::kAbort, MakeError(ErrorCode::kCancelled, "aborted")});
}

void Engine::SetState(Sequence& sequence, SequenceState state) {
  const auto list = [this](SequenceState of) -> std::map<RequestId, Sequence*>& {
    if (of == SequenceState::kRunning) return running_;
    return of == SequenceState::kEnding ? ending_ : waiting_;
  };
  const auto waits = [](SequenceState of) {
    return of != SequenceState::kRunning && of != SequenceState::kEnding;
  };
  if (sequence.state == SequenceState::kRunning) sequence.stands_since = clock_.Now();
  if (sequence.adapter != nullptr) {
    sequence.adapter->waiting += (waits(state) ? 1 : 0) - (waits(sequence.state) ? 1 : 0);
  }
  list(sequence.state).erase(sequence.id);
  sequence.state = state;
  list(state).emplace(sequence.id, &sequence);
}

void Engine::Finish(Sequence& sequence, engine::Finish finish, std::optional<RequestEvent> event) {
  const Moment now = clock_.Now();
  ++statistics_.stats().requests_total[std::string(FinishName(finish.type))];
  statistics_.Observe("e2e_seconds", now - sequence.arrived);
  if (trace_ != nullptr) {
    const Moment began = sequence.first_scheduled == Moment{} ? now : sequence.first_scheduled;
    trace_->Span(Trace::Group::kRequests, "request " + std::to_string(sequence.id.value() % 256),
                 std::string(FinishName(finish.type)), sequence.arrived, now,
                 "{\"queued_us\":" +
                     std::to_string((began - sequence.arrived) / std::chrono::microseconds(1)) +
                     "}");
  }
  RequestEvent last = event ? *std::move(event) : RequestEvent{};
  last.finish = std::move(finish);
  Emit(sequence, std::move(last));
  SetState(sequence, SequenceState::kEnding);
  // P5, P7: what a step under way still reads goes when it is done.
  if (sequence.last_step <= completed_step_) Forget(sequence.id);
}

void Engine::ReleaseMemory(Sequence& sequence) {
  for (size_t i = sequence.nodes.size(); i-- > 0;) {
    prefix_.Unhold(sequence.nodes[i], sequence.last_step);
  }
  const std::span<const PageIndex> pages(sequence.pages);
  pool_.Release(pages.subspan(sequence.nodes.size()), sequence.last_step);
  sequence.nodes.clear();
  sequence.pages.clear();
  sequence.computed = 0;
  sequence.publishes = true;
  sequence.lease.Release();
}

void Engine::Forget(RequestId id) {
  const auto found = sequences_.find(id);
  WEFT_CHECK(found != sequences_.end());
  Sequence& sequence = *found->second;
  ReleaseMemory(sequence);
  ending_.erase(id);
  adapter::AdapterRecord* record = sequence.adapter;
  sequences_.erase(found);
  if (record == nullptr) return;
  --record->users;
  adapters_.DropUnwantedLoad(*record);
}

void Engine::Emit(const Sequence& sequence, RequestEvent event) {
  event.id = sequence.id;
  event.cached_tokens = sequence.cached_tokens;
  outbox_[sequence.sink].push_back(std::move(event));
}

void Engine::DeliverEvents() {
  for (auto& [sink, events] : outbox_) sink->Deliver(std::move(events));
  outbox_.clear();
}

}  // namespace weft::engine
