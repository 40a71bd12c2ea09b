#include "engine/places.h"

#include <algorithm>

namespace weft::engine {

using adapter::DeviceTier;
using adapter::HostTier;

int32_t StepsToEnd(const SequenceView& sequence, const SchedulerLimits& limits) {
  const int32_t rows = sequence.known - sequence.computed;
  const int32_t chunks = (rows + limits.max_prefill_tokens - 1) / limits.max_prefill_tokens;
  return std::max(0, chunks + sequence.tokens_left - 1);
}

int32_t PagesToStart(const SequenceView& sequence, const SchedulerLimits& limits) {
  return std::max(0, limits.PagesFor(sequence.known + 1) - sequence.pages);
}

bool CanTakePlace(const AdapterView& adapter) {
  if (adapter.device == DeviceTier::kReleasing) return false;
  return adapter.device != DeviceTier::kAbsent || adapter.host == HostTier::kReady;
}

}  // namespace weft::engine
