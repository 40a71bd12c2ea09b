// What waiting sequences hold, and who may have to give it up.
#include <algorithm>

#include "engine/planner.h"

namespace weft::engine {

using adapter::DeviceTier;

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

}  // namespace weft::engine
