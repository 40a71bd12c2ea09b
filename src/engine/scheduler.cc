#include "engine/scheduler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/check.h"
#include "engine/place_line.h"
#include "engine/turns.h"

namespace weft::engine {
namespace {

using adapter::DeviceTier;
using adapter::HostTier;

/// The working state of one plan.
class Planner {
 public:
  Planner(const Snapshot& snapshot, const SchedulerLimits& limits,
          const adapter::LoadPolicy& policy);
  Plan Run();

 private:
  struct AdapterState {
    AdapterView view;
    int32_t leases = 0;    ///< As the plan leaves them.
    bool claimed = false;  ///< The plan brings it in or leases it.
    bool idle() const {
      return view.device == DeviceTier::kReady && leases == 0 && !view.pinned && !claimed;
    }
  };

  int32_t PagesFor(int32_t tokens) const {
    return (tokens + limits_.tokens_per_page - 1) / limits_.tokens_per_page;
  }
  /// One token more than the prompt, so that its first token does not suspend somebody. Pages that
  /// the prefix cache has count in full, because they may be among the evictable ones.
  int32_t AdmissionPages(const SequenceView& sequence) const {
    return std::max(0, PagesFor(sequence.known + 1) - sequence.pages);
  }
  AdapterState* Adapter(AdapterVersion version);
  bool AdapterReady(const SequenceView& sequence);
  int32_t AvailablePages() const {
    return free_pages_ + snapshot_.evictable_prefix_pages + idle_pages_;
  }
  /// Whether adapters that cannot give way leave --lora-memory room for `pages` more.
  bool WithinAdapterLimit(int32_t pages) const {
    return limits_.adapter_page_limit == 0 ||
           adapter_pages_ - idle_pages_ + pages <= limits_.adapter_page_limit;
  }
  bool CanStay(const AdapterState& adapter) const;
  void TakeLease(AdapterState& adapter);
  void EndLease(AdapterState& adapter);
  adapter::LoadSituation Situation();

  bool HasTurn(const SequenceView& sequence) const;
  bool Stopped(const SequenceView& sequence) const { return stopped_.contains(sequence.id); }

  void HoldBackStep();
  void TakeTurns();
  void KeepRunningWithinPages();
  void Suspend(const SequenceView& sequence);
  void LimitPasses(const SequenceView& stays) {
    passes_left_ = std::min(passes_left_, limits_.max_overtakes - stays.overtaken);
  }
  bool MayGiveUp(const SequenceView& waiting, const SequenceView* taker) const;
  bool MaySuspend(const SequenceView& waiting, const SequenceView* taker) const;
  const SequenceView* YoungestWaiting(bool with_turn,
                                      const std::function<bool(const SequenceView&)>& serves) const;
  bool RevokeYoungestWaiting(bool with_turn, const SequenceView* taker);
  bool SuspendYoungestPaused(bool with_turn, const SequenceView* taker);
  bool FreeYoungestWaiting(const SequenceView* taker);
  void ScheduleRunning();
  PlaceRoom RoomForAdapters() const;
  void AdmitWaiting();
  static bool GoesOnDecoding(const SequenceView& sequence);
  bool WithinCaps(const SequenceView& sequence) const;
  bool FindPages(const SequenceView& sequence);
  int32_t PagesOfWaiting(const SequenceView* taker, const AdapterState* except) const;
  void Admit(const SequenceView& sequence);
  void PlanLoads();
  bool PlanLoad(const SequenceView& sequence, bool room);
  bool PlanDeviceLoad(const SequenceView& sequence, AdapterState& adapter);
  bool MakeAdapterRoom(const SequenceView& sequence, const AdapterState& adapter);
  bool PlanRead(AdapterState& adapter);
  bool HasRoomToPrefetch(const AdapterView& view) const;
  void PlanPrefetches();

  const Snapshot& snapshot_;
  const SchedulerLimits& limits_;
  const adapter::LoadPolicy& policy_;
  Plan plan_;
  std::unordered_map<AdapterVersion, AdapterState> adapters_;
  std::optional<Turns> turns_;
  std::set<RequestId> stopped_;  ///< Suspended or paused by this plan.
  bool suspends_running_ = false;
  /// How many more may pass those that stay behind (P6).
  int32_t passes_left_ = std::numeric_limits<int32_t>::max();
  std::set<RequestId> revoked_;
  std::set<RequestId> admitted_;
  std::vector<RequestId> started_;  ///< Of those, who had no KV.
  std::set<AdapterVersion> step_adapters_;
  int32_t free_pages_ = 0;
  int32_t idle_pages_ = 0;
  int32_t adapter_pages_ = 0;
  int32_t running_ = 0;
  int32_t prefill_budget_ = 0;
  int32_t reads_ = 0;
};

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
      pages += std::max(0, PagesFor(sequence.computed + rows) - sequence.pages);
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

/// Whether a waiting sequence may have to give up what it holds for `taker`, which waits too; null:
/// for those who run.
bool Planner::MayGiveUp(const SequenceView& waiting, const SequenceView* taker) const {
  if (admitted_.contains(waiting.id)) return false;
  if (taker == nullptr) return true;
  const bool came_later = waiting.id > taker->id;
  return HasTurn(*taker) ? came_later || !HasTurn(waiting) : came_later && !HasTurn(waiting);
}

/// What a step under way computes cannot be suspended.
bool Planner::MaySuspend(const SequenceView& waiting, const SequenceView* taker) const {
  if (!waiting.paused || waiting.computed == waiting.known || Stopped(waiting)) return false;
  const auto passes = std::count_if(started_.begin(), started_.end(),
                                    [&](RequestId id) { return id > waiting.id; }) +
                      (taker != nullptr && waiting.id < taker->id ? 1 : 0);
  return waiting.overtaken + passes <= limits_.max_overtakes && MayGiveUp(waiting, taker);
}

/// The last that came.
const SequenceView* Planner::YoungestWaiting(
    bool with_turn, const std::function<bool(const SequenceView&)>& serves) const {
  for (auto it = snapshot_.waiting.rbegin(); it != snapshot_.waiting.rend(); ++it)
    if (HasTurn(*it) == with_turn && serves(*it)) return &*it;
  return nullptr;
}

/// Ends the lease of one whose adapter can be freed by that.
bool Planner::RevokeYoungestWaiting(bool with_turn, const SequenceView* taker) {
  const SequenceView* youngest = YoungestWaiting(with_turn, [&](const SequenceView& sequence) {
    return sequence.has_lease && !revoked_.contains(sequence.id) && MayGiveUp(sequence, taker) &&
           Adapter(sequence.adapter)->view.device == DeviceTier::kReady;
  });
  if (youngest == nullptr) return false;
  revoked_.insert(youngest->id);
  plan_.revoke.push_back(youngest->id);
  EndLease(*Adapter(youngest->adapter));
  return true;
}

/// Drops the KV of one that paused.
bool Planner::SuspendYoungestPaused(bool with_turn, const SequenceView* taker) {
  const SequenceView* youngest = YoungestWaiting(
      with_turn, [&](const SequenceView& sequence) { return MaySuspend(sequence, taker); });
  if (youngest != nullptr) Suspend(*youngest);
  return youngest != nullptr;
}

/// An image is copied again sooner than KV is computed, but no turn ends for that.
bool Planner::FreeYoungestWaiting(const SequenceView* taker) {
  for (const bool with_turn : {false, true}) {
    if (RevokeYoungestWaiting(with_turn, taker) || SuspendYoungestPaused(with_turn, taker))
      return true;
  }
  return false;
}

/// Pages that come free when every waiting request that may have to gives up what it holds.
int32_t Planner::PagesOfWaiting(const SequenceView* taker, const AdapterState* except) const {
  std::unordered_map<AdapterVersion, int32_t> held;
  for (const SequenceView& sequence : snapshot_.waiting) {
    const bool holds = sequence.has_lease && !revoked_.contains(sequence.id);
    if (holds && MayGiveUp(sequence, taker)) ++held[sequence.adapter];
  }
  int32_t pages = 0;
  for (const SequenceView& sequence : snapshot_.waiting) {
    if (MaySuspend(sequence, taker)) pages += sequence.pages;
  }
  for (const auto& [version, leases] : held) {
    const AdapterState& adapter = adapters_.at(version);
    const bool freed = adapter.view.device == DeviceTier::kReady && !adapter.view.pinned &&
                       !adapter.claimed && adapter.leases == leases;
    if (freed && &adapter != except) pages += adapter.view.pages;
  }
  return pages;
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
    return AvailablePages() - leased >= AdmissionPages(sequence);
  };
  if (fits()) return true;
  if (running_ > 0 && sequence.overtaken < limits_.max_overtakes) return false;
  if (AvailablePages() + PagesOfWaiting(&sequence, adapter) < AdmissionPages(sequence))
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
  free_pages_ -= AdmissionPages(sequence);
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

/// For those who have a turn first.
void Planner::PlanLoads() {
  bool room = true;
  for (const bool with_turn : {true, false}) {
    for (const SequenceView& sequence : snapshot_.waiting) {
      if (HasTurn(sequence) == with_turn) room = PlanLoad(sequence, room);
    }
  }
}

/// Whether there is room for more.
bool Planner::PlanLoad(const SequenceView& sequence, bool room) {
  if (admitted_.contains(sequence.id) || sequence.adapter == kBaseModel) return room;
  AdapterState& adapter = *Adapter(sequence.adapter);
  if (sequence.has_lease && !revoked_.contains(sequence.id)) return room;
  // One lease keeps it; many would have to be revoked one by one when its turn is over.
  if (limits_.takes_turns() && adapter.leases > 0) return room;
  switch (adapter.view.device) {
    case DeviceTier::kReady:
    case DeviceTier::kCopying:
      if (!room || revoked_.contains(sequence.id)) return room;
      if (!CanStay(adapter)) return false;
      TakeLease(adapter);
      plan_.lease.push_back(sequence.id);
      return true;
    case DeviceTier::kAbsent:
      if (adapter.view.host == HostTier::kReady) return room && PlanDeviceLoad(sequence, adapter);
      if (adapter.view.host == HostTier::kAbsent) PlanRead(adapter);
      return room;
    case DeviceTier::kReleasing:
      return room;
  }
  WEFT_CHECK(false);
}

/// False when there is no room: then nobody later may take the room that comes free.
bool Planner::PlanDeviceLoad(const SequenceView& sequence, AdapterState& adapter) {
  if (adapter.claimed) {
    ++adapter.leases;
    plan_.lease.push_back(sequence.id);
    return true;
  }
  if (!MakeAdapterRoom(sequence, adapter)) return false;
  free_pages_ -= adapter.view.pages;
  adapter_pages_ += adapter.view.pages;
  adapter.claimed = true;
  ++adapter.leases;
  plan_.copy.push_back(sequence.id);
  return true;
}

bool Planner::MakeAdapterRoom(const SequenceView& sequence, const AdapterState& adapter) {
  // Every running sequence may want one more page soon.
  const int32_t pages = adapter.view.pages + running_;
  const bool nothing_runs = running_ == 0 && !snapshot_.step_in_flight;
  const bool last_in_line = sequence.overtaken >= limits_.max_overtakes;
  const bool has_turn = limits_.takes_turns() && HasTurn(sequence);
  const bool may_take = nothing_runs || last_in_line || has_turn;
  if (AvailablePages() + (may_take ? PagesOfWaiting(&sequence, &adapter) : 0) < pages) return false;
  while (!WithinAdapterLimit(adapter.view.pages)) {
    if (!may_take) return false;
    if (!RevokeYoungestWaiting(false, &sequence) && !RevokeYoungestWaiting(true, &sequence))
      return false;
  }
  while (AvailablePages() < pages) {
    if (!FreeYoungestWaiting(&sequence)) return false;
  }
  return true;
}

bool Planner::PlanRead(AdapterState& adapter) {
  if (adapter.claimed || reads_ >= limits_.max_reads) return false;
  adapter.claimed = true;
  ++reads_;
  plan_.read.push_back(adapter.view.version);
  return true;
}

/// A prefetch evicts nothing, but a pinned adapter takes the place of idle ones: its image may
/// stand in the way of others in host memory until then.
bool Planner::HasRoomToPrefetch(const AdapterView& view) const {
  const bool within_limit = WithinAdapterLimit(view.pages);
  const int32_t room = view.pinned ? AvailablePages() : free_pages_;
  return within_limit && room >= view.pages + running_;
}

void Planner::PlanPrefetches() {
  for (const AdapterView& view : snapshot_.adapters) {
    if (!view.wanted_soon && !view.pinned) continue;
    AdapterState& adapter = *Adapter(view.version);
    if (adapter.claimed || view.device != DeviceTier::kAbsent) continue;
    if (view.host == HostTier::kAbsent) {
      PlanRead(adapter);
    } else if (view.host == HostTier::kReady && HasRoomToPrefetch(view)) {
      free_pages_ -= view.pages;
      adapter_pages_ += view.pages;
      adapter.claimed = true;
      plan_.prefetch.push_back(view.version);
    }
  }
}

}  // namespace

Plan MakePlan(const Snapshot& snapshot, const SchedulerLimits& limits,
              const adapter::LoadPolicy& policy) {
  return Planner(snapshot, limits, policy).Run();
}

}  // namespace weft::engine
