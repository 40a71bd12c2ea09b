// What a plan is made from.
#include <algorithm>
#include <limits>

#include "engine/engine.h"

namespace weft::engine {
namespace {

/// Waiting sequences whose cached prefix is looked up for a plan; those behind are planned as if
/// nothing were cached.
constexpr int32_t kPrefixLookups = 64;

}  // namespace

/// The last known token is always computed, for its logits; so is every token whose
/// log-probabilities are wanted.
int32_t Engine::MaxPrefixPages(const Sequence& sequence) const {
  if (!options_.prefix_cache) return 0;
  int32_t reusable = sequence.known() - 1;
  if (sequence.request.prompt_logprobs_from >= 0) {
    const int32_t next = sequence.request.prompt_logprobs_from +
                         static_cast<int32_t>(sequence.prompt_logprobs.size());
    if (next < sequence.prompt_count) reusable = std::min(reusable, std::max(next - 1, 0));
  }
  return reusable / options_.limits.tokens_per_page;
}

SequenceView Engine::View(const Sequence& sequence, Moment now, bool peek) const {
  SequenceView view;
  view.id = sequence.id;
  view.adapter = sequence.version();
  view.known = sequence.known_soon();
  view.computed = sequence.computed_soon();
  // What a step under way may end is not computed further; nor is a prompt whose log-probabilities
  // are still coming in.
  const bool may_end =
      sequence.token_pending() && sequence.generated() + 1 >= sequence.request.max_new_tokens;
  const bool awaits_logprobs =
      sequence.rows_under_way > 0 && sequence.request.prompt_logprobs_from >= 0;
  view.paused = sequence.state == SequenceState::kPaused;
  // One that paused may run again only when what a step under way chooses is known.
  const bool awaits_step = view.paused && sequence.rows_under_way > 0;
  if (may_end || awaits_logprobs || awaits_step) view.known = view.computed;
  if (peek && !view.paused) {
    view.computed = options_.limits.tokens_per_page *
                    prefix_.Peek(sequence.version(), *sequence.tokens, MaxPrefixPages(sequence));
  }
  view.tokens_left =
      sequence.request.max_new_tokens - (sequence.known_soon() - sequence.prompt_count);
  view.pages = static_cast<int32_t>(sequence.pages.size());
  view.overtaken = sequence.overtaken;
  view.has_lease = static_cast<bool>(sequence.lease);
  view.stood = now - sequence.stands_since;
  return view;
}

/// Which adapter is needed first.
void Engine::RankWaitingAdapters() {
  for (adapter::AdapterRecord* record : adapters_.Watched()) {
    record->first_waiting = RequestId(std::numeric_limits<int64_t>::max());
  }
  for (const auto& [id, sequence] : waiting_) {
    if (sequence->adapter == nullptr) continue;
    sequence->adapter->first_waiting = std::min(sequence->adapter->first_waiting, id);
  }
}

Moment Engine::PlanningBegins() const {
  return first_began_ + forecast_.AtLeast(in_flight_.front().prefill_rows) - options_.planning_time;
}

bool Engine::MaySubmit() {
  next_turn_.reset();
  if (in_flight_.empty()) return true;
  if (std::ssize(in_flight_) == options_.max_steps_in_flight) return false;
  const Moment begins = PlanningBegins();
  if (clock_.Now() >= begins) return true;
  next_turn_ = begins;
  return false;
}

Snapshot Engine::TakeSnapshot() {
  Snapshot snapshot;
  const Moment now = clock_.Now();
  snapshot.free_pages = pool_.free();
  snapshot.evictable_prefix_pages = prefix_.evictable();
  snapshot.adapter_pages = pool_.used(memory::PageUse::kAdapter);
  snapshot.reads_in_flight = adapters_.reads_in_flight();
  snapshot.step_in_flight = step_in_flight();
  snapshot.may_step = MaySubmit();
  snapshot.stepped_since_loads = stepped_since_loads_;
  for (const auto& [id, sequence] : running_)
    snapshot.running.push_back(View(*sequence, now, false));
  int32_t lookups = snapshot.may_step ? kPrefixLookups : 0;
  for (const auto& [id, sequence] : waiting_) {
    snapshot.waiting.push_back(View(*sequence, now, lookups-- > 0));
  }
  for (adapter::AdapterRecord* record : adapters_.Watched()) {
    const bool soon = record->awaited || (record->wanted_until > now && record->users == 0 &&
                                          wanted_soon_.contains(record->version));
    const bool active = record->residency.lifecycle == adapter::Lifecycle::kActive ||
                        record->residency.lifecycle == adapter::Lifecycle::kDraining;
    const bool wanted = (soon || record->pinned) && active;
    if (record->users == 0 && !record->ready() && !wanted) {
      wanted_soon_.erase(record->version);
      record->EndTurn();
      adapters_.Unwatch(*record);
      continue;
    }
    AdapterView view;
    view.version = record->version;
    view.host = record->residency.host;
    view.device = record->residency.device;
    view.pages = record->image_pages();
    view.leases = record->leases;
    view.stalled = adapters_.AwaitsRoom(*record);
    view.pinned = record->pinned && active;
    view.draining = record->residency.lifecycle == adapter::Lifecycle::kDraining;
    view.wanted_soon = wanted;
    view.has_turn = record->has_turn;
    if (record->turn_began) view.turn_time = now - *record->turn_began;
    snapshot.adapters.push_back(view);
  }
  return snapshot;
}

}  // namespace weft::engine
