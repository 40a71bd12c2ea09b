// One step: plan applied, batch submitted, tokens collected.
#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "engine/engine.h"

namespace weft::engine {

// Applying a plan

bool Engine::Apply(const Plan& plan) {
  for (const RequestId id : plan.suspend) Suspend(*sequences_.at(id));
  for (const RequestId id : plan.pause) Pause(*running_.at(id));
  if (plan.turns) GiveTurns(*plan.turns);
  for (const RequestId id : plan.revoke) {
    const auto found = waiting_.find(id);
    if (found != waiting_.end()) found->second->lease.Release();
  }
  std::vector<Plan::Slice> runnable;
  ApplySlices(plan, runnable);
  const int32_t loads_begun = ApplyLoads(plan);
  if (!runnable.empty()) SubmitStep(runnable);
  return step_in_flight() || !plan.starts_loads() || loads_begun > 0;
}

/// Steps under way go on with it; its adapter's pages stay until they are done.
void Engine::Pause(Sequence& sequence) {
  WEFT_CHECK(sequence.state == SequenceState::kRunning);
  ++statistics_.stats().pauses_total;
  sequence.lease.Release();
  SetState(sequence, SequenceState::kPaused);
}

void Engine::GiveTurns(const std::vector<AdapterVersion>& turns) {
  const std::set<AdapterVersion> holders(turns.begin(), turns.end());
  for (adapter::AdapterRecord* record : adapters_.Watched()) {
    if (holders.contains(record->version))
      record->has_turn = true;
    else
      record->EndTurn();
  }
}

void Engine::Suspend(Sequence& sequence) {
  WEFT_CHECK(sequence.has_kv() && sequence.rows_under_way == 0);
  ++statistics_.stats().suspensions_total;
  ReleaseMemory(sequence);
  SetState(sequence, SequenceState::kSuspended);
}

void Engine::ApplySlices(const Plan& plan, std::vector<Plan::Slice>& runnable) {
  // What one slice needs pages for must not evict the adapter of a later one.
  for (const Plan::Slice& planned : plan.slices) {
    Sequence& sequence = *sequences_.at(planned.id);
    if (sequence.adapter == nullptr || !sequence.adapter->ready()) continue;
    if (!sequence.lease) sequence.lease = adapter::Lease(*sequence.adapter);
  }
  for (const Plan::Slice& planned : plan.slices) {
    Sequence& sequence = *sequences_.at(planned.id);
    const bool resumes = sequence.state == SequenceState::kPaused;
    const bool starts = !resumes && sequence.state != SequenceState::kRunning;
    if (resumes && !Resume(sequence)) continue;
    if (starts && !StartSequence(sequence)) break;  // P6: nobody behind it starts either.
    const int32_t rows = std::min(planned.rows, sequence.known_soon() - sequence.computed_soon());
    if (!GrowPages(sequence, sequence.computed_soon() + rows)) {
      // What could be reclaimed was less than planned for: a later turn plans with what is true
      // then.
      if (starts) Suspend(sequence);
      continue;
    }
    runnable.push_back({sequence.id, rows});
    if (!starts) continue;
    for (auto& [id, other] : waiting_) {
      if (id > sequence.id) break;
      if (other->state != SequenceState::kPaused) ++other->overtaken;
    }
  }
}

bool Engine::Resume(Sequence& sequence) {
  const bool may = sequence.holds_adapter();
  if (may) SetState(sequence, SequenceState::kRunning);
  return may;
}

/// Waiting or suspended -> running: its adapter's lease, its cached prefix, pages for every known
/// token.
bool Engine::StartSequence(Sequence& sequence) {
  if (!sequence.holds_adapter()) return false;
  auto cached = prefix_.Hold(sequence.version(), *sequence.tokens, MaxPrefixPages(sequence));
  sequence.pages = std::move(cached.pages);
  sequence.nodes = std::move(cached.nodes);
  sequence.computed = static_cast<int32_t>(sequence.pages.size()) * options_.limits.tokens_per_page;
  if (!GrowPages(sequence, sequence.known())) {
    ReleaseMemory(sequence);
    return false;
  }
  if (sequence.state == SequenceState::kWaiting) {
    sequence.cached_tokens = sequence.computed;
    sequence.first_scheduled = clock_.Now();
    statistics_.Observe("queue_seconds", sequence.first_scheduled - sequence.arrived);
    if (sequence.adapter != nullptr && sequence.adapter_waited) {
      statistics_.Observe("adapter_wait_seconds", sequence.adapter_ready_at - sequence.arrived);
    }
    statistics_.stats().cached_tokens_total += static_cast<uint64_t>(sequence.cached_tokens);
    statistics_.stats().prompt_tokens_total += static_cast<uint64_t>(sequence.prompt_count);
  }
  SetState(sequence, SequenceState::kRunning);
  return true;
}

bool Engine::GrowPages(Sequence& sequence, int32_t tokens) {
  const int32_t missing =
      options_.limits.PagesFor(tokens) - static_cast<int32_t>(sequence.pages.size());
  if (missing <= 0) return true;
  if (!ReclaimPages(missing, nullptr)) return false;
  auto pages = pool_.Allocate(missing, memory::PageUse::kKv);
  WEFT_CHECK(pages.has_value());
  sequence.pages.insert(sequence.pages.end(), pages->begin(), pages->end());
  return true;
}

/// Makes `wanted` pages free: of idle adapters and unused prefixes, what was used longest ago goes
/// first.
bool Engine::ReclaimPages(int32_t wanted, const adapter::AdapterRecord* except) {
  while (pool_.free() < wanted) {
    adapter::AdapterRecord* idle = adapters_.NextEviction(except);
    const std::optional<int64_t> prefix_use = prefix_.OldestUnused();
    if (idle != nullptr && (!prefix_use || idle->last_use <= *prefix_use)) {
      adapters_.EvictDevice(*idle);
    } else if (prefix_use) {
      prefix_.EvictLeastRecent();
    } else {
      return false;
    }
  }
  return true;
}

int32_t Engine::ApplyLoads(const Plan& plan) {
  for (const RequestId id : plan.lease) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) continue;
    Sequence& sequence = *found->second;
    const adapter::DeviceTier tier = sequence.adapter->residency.device;
    if (tier == adapter::DeviceTier::kReady || tier == adapter::DeviceTier::kCopying) {
      sequence.lease = adapter::Lease(*sequence.adapter);
    }
  }
  int32_t begun = 0;
  for (const RequestId id : plan.copy) {
    Sequence& sequence = *waiting_.at(id);
    if (LoadToDevice(*sequence.adapter, adapter::CopyUrgency::kRequested, true)) {
      sequence.lease = adapter::Lease(*sequence.adapter);
      ++begun;
    }
  }
  for (const AdapterVersion version : plan.read) {
    begun += adapters_.StartRead(*adapters_.Find(version)) ? 1 : 0;
  }
  for (const AdapterVersion version : plan.prefetch) {
    adapter::AdapterRecord& record = *adapters_.Find(version);
    // One of the reads may have taken the room of its image.
    if (record.residency.host != adapter::HostTier::kReady) continue;
    LoadToDevice(record, adapter::CopyUrgency::kPrefetch, record.pinned);
  }
  if (begun > 0) stepped_since_loads_ = false;
  return begun;
}

bool Engine::LoadToDevice(adapter::AdapterRecord& record, adapter::CopyUrgency urgency,
                          bool may_evict) {
  const int32_t pages = record.image_pages();
  const int32_t limit = options_.limits.adapter_page_limit;
  while (limit > 0 && pool_.used(memory::PageUse::kAdapter) + pages > limit) {
    adapter::AdapterRecord* idle = may_evict ? adapters_.NextEviction(&record) : nullptr;
    if (idle == nullptr) return false;
    adapters_.EvictDevice(*idle);
  }
  if (may_evict && !ReclaimPages(pages, &record)) return false;
  return adapters_.StartCopy(record, urgency);
}

// Submitting

void Engine::SubmitStep(const std::vector<Plan::Slice>& slices) {
  StepJob job;
  job.id = next_step_;
  next_step_ = StepId(next_step_.value() + 1);
  InFlight step;
  step.id = job.id;
  step.slices = slices;
  int32_t logits_rows = 0;
  for (const Plan::Slice& slice : slices) {
    AppendSlice(*running_.at(slice.id), slice.rows, job, step, logits_rows);
  }
  if (in_flight_.empty()) first_began_ = clock_.Now();
  in_flight_.push_back(std::move(step));
  job.gap = {working_since_ ? clock_.Now() - *working_since_ : Duration{}, collected_this_turn_};
  executor_.Submit(std::move(job));
}

void Engine::AppendSlice(Sequence& sequence, int32_t rows, StepJob& job, InFlight& step,
                         int32_t& logits_rows) {
  model::SequenceSlice slice{.rows = rows, .position = sequence.computed_soon()};
  const int32_t end = slice.position + rows;
  slice.pages.assign(sequence.pages.begin(),
                     sequence.pages.begin() + options_.limits.PagesFor(end));
  slice.first_logits_row = rows;
  if (sequence.adapter != nullptr) {
    slice.adapter = sequence.adapter->table;
    sequence.adapter->last_step = step.id;
    adapters_.Touch(*sequence.adapter);
  }
  const auto first = sequence.tokens->begin() + slice.position;
  job.batch.tokens.insert(job.batch.tokens.end(), first,
                          sequence.tokens->begin() + std::min(end, sequence.known()));
  const bool carries = end > sequence.known();
  if (carries) {
    job.batch.carried.push_back({static_cast<int32_t>(job.batch.tokens.size()),
                                 sequence.pending_sample,
                                 static_cast<int32_t>(job.batch.samples.size())});
    job.batch.tokens.push_back(0);
  }
  sequence.last_step = step.id;
  sequence.rows_under_way += rows;
  if (rows > 1 || slice.position < sequence.prompt_count)
    step.prefill_rows += rows;
  else
    step.has_decode = true;

  ops::SampleRow row;
  row.params = sequence.sampling;
  row.top_logprobs = sequence.request.top_logprobs;
  if (sequence.request.prompt_logprobs_from >= 0) {
    // Row i of the slice has the logits of the token at position + i + 1.
    const int32_t next = sequence.request.prompt_logprobs_from +
                         static_cast<int32_t>(sequence.prompt_logprobs.size());
    for (int32_t index = std::max(next, 1); index < sequence.prompt_count && index <= end;
         ++index) {
      const int32_t at = index - 1 - slice.position;
      WEFT_CHECK(at >= 0);
      slice.first_logits_row = std::min(slice.first_logits_row, at);
      row.sample = false;
      row.want_logprob = true;
      row.logits_row = logits_rows + at - slice.first_logits_row;
      row.given_token = (*sequence.tokens)[static_cast<size_t>(index)];
      job.batch.samples.push_back(row);
      step.targets.push_back({sequence.id, index});
    }
  }
  if (end == sequence.known_soon()) {
    slice.first_logits_row = std::min(slice.first_logits_row, rows - 1);
    row.sample = true;
    row.given_token = -1;
    row.want_logprob = sequence.request.want_logprobs;
    row.top_logprobs = sequence.request.want_logprobs ? sequence.request.top_logprobs : 0;
    row.logits_row = logits_rows + rows - 1 - slice.first_logits_row;
    row.position = end;
    row.tokens = sequence.tokens;
    row.token_count = sequence.known();
    row.prompt_count = sequence.prompt_count;
    if (end - sequence.prompt_count < sequence.request.min_new_tokens) {
      row.forbidden = sequence.forbidden;
    }
    sequence.pending_sample = static_cast<int32_t>(job.batch.samples.size());
    job.batch.samples.push_back(std::move(row));
    step.targets.push_back({sequence.id, -1});
  }
  logits_rows += rows - slice.first_logits_row;
  job.batch.slices.push_back(std::move(slice));
}

// Collecting

void Engine::On(StepDone message) {
  WEFT_CHECK(!in_flight_.empty() && in_flight_.front().id == message.id);
  const InFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  first_began_ = message.end;
  forecast_.Observe(step.prefill_rows, message.end - message.begin);
  completed_step_ = message.id;
  stepped_since_loads_ = true;
  collected_this_turn_ = true;
  pool_.StepCompleted(message.id);
  adapters_.OnStepCompleted(message.id);
  ++statistics_.stats().steps_total;
  const char* kind = step.prefill_rows == 0 ? "decode" : (step.has_decode ? "mixed" : "prefill");
  statistics_.Observe(std::string("step_seconds:") + kind, message.end - message.begin);
  if (trace_ != nullptr) {
    trace_->Span(Trace::Group::kEngine, "compute", kind, message.begin, message.end,
                 "{\"step\":" + std::to_string(message.id.value()) +
                     ",\"sequences\":" + std::to_string(step.slices.size()) + ",\"idle_us\":" +
                     std::to_string(message.idle / std::chrono::microseconds(1)) + "}");
  }
  WEFT_CHECK(message.samples.size() == step.targets.size());
  for (const Plan::Slice& slice : step.slices) {
    if (Sequence* sequence = WithKv(slice.id)) CollectSlice(*sequence, slice.rows);
  }
  for (size_t i = 0; i < step.targets.size(); ++i) {
    Sequence* sequence = WithKv(step.targets[i].sequence);
    if (sequence == nullptr) continue;
    if (step.targets[i].prompt_index >= 0) {
      sequence->prompt_logprobs.push_back(std::move(message.samples[i]));
    } else {
      CollectToken(*sequence, message.samples[i]);
    }
  }
  for (const auto& [id, sequence] : std::map(ending_)) {
    if (sequence->last_step <= completed_step_) Forget(id);
  }
}

/// Null where it has ended.
Sequence* Engine::WithKv(RequestId id) const {
  const auto found = sequences_.find(id);
  return found != sequences_.end() && found->second->has_kv() ? found->second.get() : nullptr;
}

void Engine::CollectSlice(Sequence& sequence, int32_t rows) {
  sequence.computed += rows;
  sequence.rows_under_way -= rows;
  // A step submitted after this one has taken the token up already, and chooses another.
  if (sequence.rows_under_way == 0) sequence.pending_sample = -1;
  PublishPages(sequence);
}

/// Full pages go into the prefix cache as soon as they are computed, so that requests like this one
/// share them.
void Engine::PublishPages(Sequence& sequence) {
  if (!options_.prefix_cache) return;
  const int32_t size = options_.limits.tokens_per_page;
  const std::span<const TokenId> tokens(*sequence.tokens);
  while (sequence.publishes &&
         (static_cast<int32_t>(sequence.nodes.size()) + 1) * size <= sequence.computed) {
    const size_t index = sequence.nodes.size();
    const auto node = prefix_.Publish(sequence.version(), index == 0 ? 0 : sequence.nodes.back(),
                                      tokens.subspan(index * size, size), sequence.pages[index]);
    if (node) {
      sequence.nodes.push_back(*node);
    } else {
      sequence.publishes =
          false;  // Another sequence computed the same; this one's pages stay its own.
    }
  }
}

void Engine::CollectToken(Sequence& sequence, const ops::SampledToken& sample) {
  if (!sample.valid) {
    const std::string with =
        sequence.adapter == nullptr ? "" : " with adapter '" + sequence.adapter->name + "'";
    Finish(sequence,
           engine::Finish{FinishType::kError,
                          MakeError(ErrorCode::kInternal,
                                    "the model{} gave no usable logits after {} tokens (NaN or "
                                    "infinity); check its weights, or try --dtype float32",
                                    with, sequence.known())});
    return;
  }
  const Moment now = clock_.Now();
  RequestEvent event;
  const bool first = sequence.generated() == 0;
  if (first) {
    statistics_.Observe("ttft_seconds", now - sequence.arrived);
    event.prompt_logprobs = std::move(sequence.prompt_logprobs);
    sequence.prompt_logprobs.clear();
    sequence.request.prompt_logprobs_from = -1;
  } else {
    statistics_.Observe("itl_seconds", now - sequence.last_token);
  }
  sequence.last_token = now;
  adapter::AdapterRecord* record = sequence.adapter;
  if (record != nullptr && record->has_turn && !record->turn_began) record->turn_began = now;
  ++statistics_.stats().generated_tokens_total;

  const auto is_among = [&](const std::vector<TokenId>& ids) {
    return std::find(ids.begin(), ids.end(), sample.token) != ids.end();
  };
  const bool stops = is_among(sequence.request.stop_token_ids) ||
                     (!sequence.request.ignore_eos && is_among(config_.end_tokens));
  if (stops) {
    Finish(sequence, engine::Finish{FinishType::kStop, {}, sample}, std::move(event));
    return;
  }
  sequence.tokens->push_back(sample.token);
  event.tokens.push_back(sample);
  if (sequence.generated() >= sequence.request.max_new_tokens) {
    Finish(sequence, engine::Finish{FinishType::kLength}, std::move(event));
    return;
  }
  Emit(sequence, std::move(event));
}

}  // namespace weft::engine
