// Whom the next step computes.
#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "engine/places.h"
#include "engine/planner.h"

namespace weft::engine {

using adapter::DeviceTier;
using adapter::HostTier;

Planner::Planner(const Snapshot& snapshot, const SchedulerLimits& limits,
                 const adapter::LoadPolicy& policy)
    : snapshot_(snapshot),
      limits_(limits),
      policy_(policy),
      free_pages_(snapshot.free_pages),
      adapter_pages_(snapshot.adapter_pages),
      prefill_budget_(limits.max_prefill_tokens),
      reads_(snapshot.reads_in_flight) {
  for (const AdapterView& view : snapshot.adapters) {
    AdapterState& state =
        adapters_.emplace(view.version, AdapterState{view, view.leases, false}).first->second;
    if (state.idle()) idle_pages_ += view.pages;
  }
}

Planner::AdapterState* Planner::Adapter(AdapterVersion version) {
  if (version == kBaseModel) return nullptr;
  const auto found = adapters_.find(version);
  WEFT_CHECK(found != adapters_.end());
  return &found->second;
}

bool Planner::AdapterReady(const SequenceView& sequence) {
  const AdapterState* adapter = Adapter(sequence.adapter);
  return adapter == nullptr || adapter->view.device == DeviceTier::kReady;
}

/// An idle adapter can be leased unless its pages are spoken for by what was planned before.
bool Planner::CanStay(const AdapterState& adapter) const {
  if (!adapter.idle()) return true;
  const bool within_limit = WithinAdapterLimit(adapter.view.pages);
  return within_limit && AvailablePages() >= adapter.view.pages;
}

void Planner::TakeLease(AdapterState& adapter) {
  if (adapter.idle()) idle_pages_ -= adapter.view.pages;
  ++adapter.leases;
  adapter.claimed = true;
}

void Planner::EndLease(AdapterState& adapter) {
  WEFT_CHECK(adapter.leases > 0);
  --adapter.leases;
  if (adapter.idle()) idle_pages_ += adapter.view.pages;
}

adapter::LoadSituation Planner::Situation() {
  adapter::LoadSituation situation;
  situation.step_in_flight = snapshot_.step_in_flight;
  situation.stepped_since_loads = snapshot_.stepped_since_loads;
  situation.runnable = !plan_.slices.empty();
  std::set<AdapterVersion> pending;
  for (const SequenceView& sequence : snapshot_.waiting) {
    const AdapterState* adapter = Adapter(sequence.adapter);
    if (AdapterReady(sequence)) continue;
    if (adapter->view.device == DeviceTier::kCopying ||
        (adapter->view.host == HostTier::kReading && !adapter->view.stalled) ||
        (adapter->view.host == HostTier::kReady && sequence.has_lease)) {
      pending.insert(sequence.adapter);
    } else {
      situation.loads_wanted = true;
    }
  }
  situation.loads_pending = static_cast<int32_t>(pending.size());
  return situation;
}

Plan Planner::Run() {
  if (snapshot_.may_step) {
    // A turn that begins may need a load.
    if (limits_.takes_turns() && snapshot_.may_load) TakeTurns();
    KeepRunningWithinPages();
    // Pages that one sequence had to give up are not for newcomers.
    if (!suspends_running_) AdmitWaiting();
  }
  const adapter::LoadSituation before = Situation();
  // A load that reached host memory goes on to the device within its group.
  const bool may_start = snapshot_.may_load && policy_.MayStartLoads(before);
  const bool may_continue = snapshot_.may_load && (may_start || !snapshot_.step_in_flight);
  if (may_continue) {
    if (!may_start) reads_ = limits_.max_reads;
    PlanLoads();
    if (may_start) PlanPrefetches();
  }
  adapter::LoadSituation after = before;
  after.loads_pending += static_cast<int32_t>(plan_.copy.size() + plan_.read.size());
  // What a step under way computes cannot be suspended.
  const bool must_wait = snapshot_.step_in_flight && suspends_running_;
  if (!snapshot_.may_step || must_wait || !policy_.MayRunStep(after)) HoldBackStep();
  return std::move(plan_);
}

/// No step now. Requests that could have started keep the adapters they found.
void Planner::HoldBackStep() {
  plan_.slices.clear();
  for (const SequenceView& sequence : snapshot_.running) std::erase(plan_.suspend, sequence.id);
  for (const SequenceView& sequence : snapshot_.waiting) {
    const bool leased = sequence.has_lease && !revoked_.contains(sequence.id);
    if (admitted_.contains(sequence.id) && sequence.adapter != kBaseModel && !leased) {
      plan_.lease.push_back(sequence.id);
    }
  }
}

/// Where there is room for all, everybody has a turn.
void Planner::TakeTurns() {
  turns_.emplace(snapshot_, limits_);
  plan_.turns = turns_->Holders();
  for (const SequenceView& sequence : snapshot_.running) {
    if (HasTurn(sequence)) continue;
    stopped_.insert(sequence.id);
    plan_.pause.push_back(sequence.id);
    EndLease(*Adapter(sequence.adapter));
  }
}

/// Those of the last plan, where this one gives none.
bool Planner::HasTurn(const SequenceView& sequence) const {
  if (!limits_.takes_turns() || sequence.adapter == kBaseModel) return true;
  return turns_ ? turns_->Has(sequence.adapter) : adapters_.at(sequence.adapter).view.has_turn;
}

void Planner::Suspend(const SequenceView& sequence) {
  LimitPasses(sequence);
  stopped_.insert(sequence.id);
  plan_.suspend.push_back(sequence.id);
  free_pages_ += sequence.pages;
}

/// Every decode that begins a new page must get one.
void Planner::KeepRunningWithinPages() {
  const auto needed = [&] {
    int32_t pages = 0;
    for (const SequenceView& sequence : snapshot_.running) {
      if (Stopped(sequence)) continue;
      const int32_t rows = std::min(sequence.known - sequence.computed, limits_.max_prefill_tokens);
      pages += std::max(0, limits_.PagesFor(sequence.computed + rows) - sequence.pages);
    }
    return pages;
  };
  auto stopped = std::ssize(plan_.pause);
  for (auto youngest = snapshot_.running.rbegin(); AvailablePages() < needed();) {
    if (FreeYoungestWaiting(nullptr)) continue;
    while (youngest != snapshot_.running.rend() && Stopped(*youngest)) ++youngest;
    if (++stopped >= std::ssize(snapshot_.running)) break;  // One must run.
    Suspend(*youngest);
    suspends_running_ = true;
    if (AdapterState* adapter = Adapter(youngest->adapter)) EndLease(*adapter);
  }
  free_pages_ -= needed();
  ScheduleRunning();
}

void Planner::ScheduleRunning() {
  for (const SequenceView& sequence : snapshot_.running) {
    if (Stopped(sequence)) continue;
    ++running_;
    if (sequence.adapter != kBaseModel) step_adapters_.insert(sequence.adapter);
    if (sequence.known - sequence.computed == 1) plan_.slices.push_back({sequence.id, 1});
  }
  for (const SequenceView& sequence : snapshot_.running) {
    const int32_t remaining = sequence.known - sequence.computed;
    if (Stopped(sequence) || remaining == 1) continue;
    const int32_t rows = std::min(remaining, prefill_budget_);
    if (rows <= 0) continue;  // 0 remain: steps under way do all there is to do now.
    prefill_budget_ -= rows;
    plan_.slices.push_back({sequence.id, rows});
  }
}

bool Planner::GoesOnDecoding(const SequenceView& sequence) {
  return sequence.paused && sequence.known - sequence.computed == 1;
}

bool Planner::WithinCaps(const SequenceView& sequence) const {
  if (running_ >= limits_.max_running) return false;
  if (prefill_budget_ == 0 && !GoesOnDecoding(sequence)) return false;
  const bool new_adapter =
      sequence.adapter != kBaseModel && !step_adapters_.contains(sequence.adapter);
  return !new_adapter ||
         static_cast<int32_t>(step_adapters_.size()) < limits_.max_adapters_per_step;
}

/// Whether there are pages for it; for one that nobody may pass any more, or when nothing runs,
/// leases of later requests are revoked to find them.
bool Planner::FindPages(const SequenceView& sequence) {
  const AdapterState* adapter = Adapter(sequence.adapter);
  const auto fits = [&] {
    const int32_t leased = adapter != nullptr && adapter->idle() ? adapter->view.pages : 0;
    return AvailablePages() - leased >= PagesToStart(sequence, limits_);
  };
  if (fits()) return true;
  if (running_ > 0 && sequence.overtaken < limits_.max_overtakes) return false;
  if (AvailablePages() + PagesOfWaiting(&sequence, adapter) < PagesToStart(sequence, limits_))
    return false;
  while (!fits()) {
    if (!FreeYoungestWaiting(&sequence)) return false;
  }
  return true;
}

void Planner::Admit(const SequenceView& sequence) {
  admitted_.insert(sequence.id);
  ++running_;
  if (AdapterState* adapter = Adapter(sequence.adapter)) {
    step_adapters_.insert(sequence.adapter);
    if (!sequence.has_lease || revoked_.contains(sequence.id)) TakeLease(*adapter);
  }
  free_pages_ -= PagesToStart(sequence, limits_);
  if (GoesOnDecoding(sequence)) {
    plan_.slices.push_back({sequence.id, 1});
    return;
  }
  const int32_t rows = std::min(sequence.known - sequence.computed, prefill_budget_);
  prefill_budget_ -= rows;
  plan_.slices.push_back({sequence.id, rows});
}

PlaceRoom Planner::RoomForAdapters() const {
  PlaceRoom room;
  room.step_places = limits_.max_adapters_per_step - static_cast<int32_t>(step_adapters_.size());
  // As MakeAdapterRoom and CanStay have it.
  room.pool_pages = AvailablePages();
  room.running = running_;
  room.memory_pages = limits_.adapter_page_limit == 0
                          ? std::numeric_limits<int32_t>::max() / 2
                          : limits_.adapter_page_limit - (adapter_pages_ - idle_pages_);
  return room;
}

void Planner::AdmitWaiting() {
  const bool may_any_start = limits_.takes_turns() || prefill_budget_ > 0;
  if (snapshot_.waiting.empty() || running_ >= limits_.max_running || !may_any_start) return;
  std::optional<PlaceLine> line;
  if (!limits_.takes_turns()) line.emplace(snapshot_, limits_, RoomForAdapters());
  for (const SequenceView& sequence : snapshot_.waiting) {
    // One that paused has started before: it passes nobody, and nobody passes it.
    if (Stopped(sequence) || (passes_left_ <= 0 && !sequence.paused)) continue;
    const bool has_place = line ? !line->HoldsBack(sequence) : HasTurn(sequence);
    const bool may_start = has_place && AdapterReady(sequence) && WithinCaps(sequence) &&
                           sequence.computed < sequence.known;
    if (may_start && FindPages(sequence)) {
      Admit(sequence);
      if (sequence.paused) continue;
      --passes_left_;
      started_.push_back(sequence.id);
    } else if (!sequence.paused) {
      LimitPasses(sequence);
    }
  }
}

Plan MakePlan(const Snapshot& snapshot, const SchedulerLimits& limits,
              const adapter::LoadPolicy& policy) {
  return Planner(snapshot, limits, policy).Run();
}

}  // namespace weft::engine
