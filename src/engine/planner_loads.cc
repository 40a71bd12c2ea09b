// Which adapters are leased, copied and read, for whom.
#include "base/check.h"
#include "engine/planner.h"

namespace weft::engine {

using adapter::DeviceTier;
using adapter::HostTier;

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

}  // namespace weft::engine
