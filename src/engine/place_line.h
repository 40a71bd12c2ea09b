#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>

#include "engine/snapshot.h"

namespace weft::engine {

/// What is left for more adapters.
struct PlaceRoom {
  int32_t step_places = 0;   ///< Adapters that the step can take besides those that run.
  int32_t pool_pages = 0;    ///< Free, or could be made free.
  int32_t running = 0;       ///< Sequences; an image that is copied leaves each a page.
  int32_t memory_pages = 0;  ///< Within --lora-memory.
};

/// The line for places, where more adapters are wanted than a step or adapter memory has room for.
/// Pure; made for one plan, from a snapshot in which nobody is to be suspended.
///
/// The first waiting request for whose adapter there is no place gets the place that comes free
/// soonest: of the adapters that run, the one (or those whose pages are needed) whose sequences
/// take the fewest steps by their max_new_tokens drains. A later request joins it only if it ends
/// within those steps; otherwise it is held back, and waits its turn. Who needs another place stays
/// behind the first in line as well. Later requests for adapters that do not drain pass.
///
/// The bound (P6): a request that is first in line is passed by later ones only where they do not
/// delay it, and at most max_overtakes times. Its place is free after at most as many steps as the
/// sequences of what drains could take when it became first. Who is n-th in line waits for at most
/// n such places. A request stands in line while its adapter's image is in host memory. Two things
/// are not in the line: later requests may take KV pages that came free, at most max_overtakes
/// times; and where pages are lacking, those that held a lease when the line formed run first.
class PlaceLine {
 public:
  PlaceLine(const Snapshot& snapshot, const SchedulerLimits& limits, const PlaceRoom& room);
  /// Whether a waiting request must not start now. None while every adapter has a place.
  bool HoldsBack(const SequenceView& sequence) const;

 private:
  /// An adapter that runs, or comes next by arrival.
  struct Place {
    int32_t steps = 0;     ///< That its sequences take at most.
    int32_t kv_pages = 0;  ///< That they hold.
    bool drains = false;
  };

  void Join(const SequenceView& sequence);
  int32_t PagesToTake(const AdapterView& adapter) const;
  bool LacksPages(const AdapterView& adapter) const;
  const SequenceView* FirstWithoutPlace();
  void JoinLeaseHolders();
  void ChooseWhoDrains();
  bool BehindFirst(const SequenceView& sequence) const;
  bool MustWait(const SequenceView& later) const;

  const Snapshot& snapshot_;
  const SchedulerLimits& limits_;
  PlaceRoom room_;
  std::unordered_map<AdapterVersion, const AdapterView*> adapters_;
  std::map<AdapterVersion, Place> places_;
  const SequenceView* first_ = nullptr;  ///< In line; null: every adapter has a place.
  bool step_is_full_ = false;            ///< For the first in line.
};

}  // namespace weft::engine
