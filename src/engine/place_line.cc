#include "engine/place_line.h"

#include <algorithm>

#include "engine/places.h"

namespace weft::engine {

using adapter::DeviceTier;

PlaceLine::PlaceLine(const Snapshot& snapshot, const SchedulerLimits& limits, const PlaceRoom& room)
    : snapshot_(snapshot), limits_(limits), room_(room) {
  for (const AdapterView& view : snapshot.adapters) adapters_.emplace(view.version, &view);
  for (const SequenceView& sequence : snapshot.running) {
    if (sequence.adapter == kBaseModel) continue;
    Join(sequence);
    places_.at(sequence.adapter).kv_pages += sequence.pages;
  }
  first_ = FirstWithoutPlace();
  if (first_ == nullptr) return;
  if (!step_is_full_) JoinLeaseHolders();
  ChooseWhoDrains();
}

void PlaceLine::Join(const SequenceView& sequence) {
  Place& place = places_[sequence.adapter];
  place.steps = std::max(place.steps, StepsToEnd(sequence, limits_));
}

/// The pages of an idle adapter are counted as room for others.
int32_t PlaceLine::PagesToTake(const AdapterView& adapter) const {
  const bool idle = adapter.device == DeviceTier::kReady && adapter.leases == 0 && !adapter.pinned;
  return idle || adapter.device == DeviceTier::kAbsent ? adapter.pages : 0;
}

bool PlaceLine::LacksPages(const AdapterView& adapter) const {
  const int32_t wanted = PagesToTake(adapter);
  const int32_t left_over = adapter.device == DeviceTier::kAbsent ? room_.running : 0;
  return wanted > 0 && (room_.pool_pages < wanted + left_over || room_.memory_pages < wanted);
}

/// Gives places to waiting requests by arrival until there is none for one of them.
const SequenceView* PlaceLine::FirstWithoutPlace() {
  for (const SequenceView& sequence : snapshot_.waiting) {
    if (sequence.adapter == kBaseModel) continue;
    const AdapterView& adapter = *adapters_.at(sequence.adapter);
    if (!CanTakePlace(adapter)) continue;
    if (!places_.contains(sequence.adapter)) {
      const int32_t pages = PagesToTake(adapter);
      step_is_full_ = room_.step_places <= 0;
      if (step_is_full_ || LacksPages(adapter)) return &sequence;
      --room_.step_places;
      room_.pool_pages -= pages;
      room_.memory_pages -= pages;
    }
    Join(sequence);
  }
  return nullptr;
}

bool PlaceLine::BehindFirst(const SequenceView& sequence) const {
  return sequence.id > first_->id && sequence.adapter != kBaseModel;
}

/// Pages that a lease holds come free only when its request has run.
void PlaceLine::JoinLeaseHolders() {
  for (const SequenceView& sequence : snapshot_.waiting)
    if (sequence.has_lease && BehindFirst(sequence) && places_.contains(sequence.adapter))
      Join(sequence);
}

void PlaceLine::ChooseWhoDrains() {
  const AdapterView& wanted = *adapters_.at(first_->adapter);
  for (;;) {
    const bool lacks_pages = LacksPages(wanted);
    if (!lacks_pages && room_.step_places > 0) return;
    auto soonest = places_.end();
    for (auto it = places_.begin(); it != places_.end(); ++it) {
      if (it->second.drains || (lacks_pages && adapters_.at(it->first)->pinned)) continue;
      if (soonest == places_.end() || it->second.steps < soonest->second.steps) soonest = it;
    }
    if (soonest == places_.end()) return;  // Others must end as well.
    soonest->second.drains = true;
    const AdapterView& adapter = *adapters_.at(soonest->first);
    const int32_t image = adapter.pinned ? 0 : adapter.pages;
    ++room_.step_places;
    room_.memory_pages += image;
    room_.pool_pages += image + soonest->second.kv_pages;
  }
}

bool PlaceLine::MustWait(const SequenceView& later) const {
  const auto place = places_.find(later.adapter);
  if (place == places_.end()) return step_is_full_ || !later.has_lease;
  return place->second.drains && StepsToEnd(later, limits_) > place->second.steps;
}

bool PlaceLine::HoldsBack(const SequenceView& sequence) const {
  if (first_ == nullptr) return false;
  // The first's adapter may be there, idle, with its pages spoken for.
  return sequence.id == first_->id || (BehindFirst(sequence) && MustWait(sequence));
}

}  // namespace weft::engine
