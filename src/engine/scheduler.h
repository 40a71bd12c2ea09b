#pragma once

#include "adapter/load_policy.h"
#include "engine/snapshot.h"

namespace weft::engine {

/// Decides what the next step runs and which adapters to bring in. A pure function of the snapshot:
/// no clock, no state.
///
/// Running sequences that decode come first, then prompts under way, then waiting requests by
/// arrival.
///
/// A request whose adapter is there may overtake earlier ones whose adapter is not, or that lack
/// pages, but each waiting request at most max_overtakes times (P6).
///
/// Where more adapters are wanted than there are places, they take turns (Turns), or, without
/// turns, later requests do not keep the place that the first in line waits for (PlaceLine).
///
/// Adapters are brought in by the order of arrival of who waits for them, with a lease, so that
/// what was brought in cannot be evicted before its request ran.
///
/// KV of running sequences comes before adapters: when pages run out, leases of waiting requests
/// are revoked, then paused sequences are suspended, then the youngest running one.
Plan MakePlan(const Snapshot& snapshot, const SchedulerLimits& limits,
              const adapter::LoadPolicy& policy);

}  // namespace weft::engine
