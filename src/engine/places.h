#pragma once

#include <cstdint>

#include "engine/snapshot.h"

// What both answers to "more adapters are wanted than there is room for" go by, PlaceLine and
// Turns, and the planner with them.

namespace weft::engine {

/// Steps that a sequence takes at most, by its max_new_tokens. The last chunk of a prompt gives the
/// first token.
int32_t StepsToEnd(const SequenceView& sequence, const SchedulerLimits& limits);

/// KV pages that a waiting sequence lacks to start, or to go on. One token more than it knows, so
/// that its first token does not suspend somebody. Pages that the prefix cache has count in full,
/// because they may be among the evictable ones.
int32_t PagesToStart(const SequenceView& sequence, const SchedulerLimits& limits);

/// Whether the adapter could use a place: while its image is being read it could not.
bool CanTakePlace(const AdapterView& adapter);

}  // namespace weft::engine
