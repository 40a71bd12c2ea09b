// P6: who is first in line for a place in the step.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "sim/history.h"

namespace weft::sim {
namespace {

using engine::Sequence;
using engine::SequenceState;

/// A prompt's first chunk may be cut short, and one sequence may be a step ahead of another.
constexpr int32_t kStepsNotCounted = 3;

bool StandsInLine(const Sequence& sequence) {
  if (sequence.state != SequenceState::kWaiting && sequence.state != SequenceState::kSuspended) {
    return false;
  }
  const adapter::AdapterRecord* record = sequence.adapter;
  if (record == nullptr || record->residency.device == adapter::DeviceTier::kReleasing) {
    return false;
  }
  return record->residency.device != adapter::DeviceTier::kAbsent ||
         record->residency.host == adapter::HostTier::kReady;
}

/// Steps until the first of these adapters has no sequence any more, if nobody joins.
int32_t StepsToFreePlace(const std::map<AdapterVersion, int32_t>& steps) {
  int32_t soonest = std::numeric_limits<int32_t>::max();
  for (const auto& [version, count] : steps) soonest = std::min(soonest, count);
  return soonest;
}

}  // namespace

/// While a step holds as many adapters as it may, later requests than the first one that waits for
/// a place do not delay the place that comes free first. Earlier ones may join who runs.
void History::CheckPlaces() {
  if (scenario_.engine.limits.takes_turns()) return;
  const int32_t chunk = scenario_.engine.limits.max_prefill_tokens;
  std::set<AdapterVersion> in_step;
  for (const auto& [id, sequence] : engine_->sequences()) {
    const bool runs = sequence->state == SequenceState::kRunning && sequence->adapter != nullptr;
    if (runs) in_step.insert(sequence->version());
    // Pages of a pinned adapter never come free, so another one's place may be waited for.
    if (runs && sequence->adapter->pinned) return;
  }
  const auto first = std::find_if(
      engine_->sequences().begin(), engine_->sequences().end(), [&](const auto& entry) {
        return StandsInLine(*entry.second) && !in_step.contains(entry.second->version());
      });
  // Who became first by this very turn, because the plan took an earlier one's adapter away, was
  // not yet when the plan was made.
  const std::optional<RequestId> was_first = std::exchange(
      first_in_line_,
      first != engine_->sequences().end() ? std::optional(first->first) : std::nullopt);
  if (!first_in_line_ || was_first != first_in_line_) return;
  std::map<AdapterVersion, int32_t> before;
  std::map<AdapterVersion, int32_t> now;
  for (const auto& [id, sequence] : engine_->sequences()) {
    const bool runs = sequence->state == SequenceState::kRunning;
    const bool joins = StandsInLine(*sequence) && id < first->first;
    if (!in_step.contains(sequence->version()) || (!runs && !joins)) continue;
    const int32_t rows = sequence->known_soon() - sequence->computed_soon();
    const int32_t tokens = sequence->prompt_count + sequence->request.max_new_tokens;
    const int32_t steps = (rows + chunk - 1) / chunk + tokens - sequence->known_soon();
    int32_t& most = now[sequence->version()];
    most = std::max(most, steps);
    if (!was_running_.contains(id) && id > first->first) continue;
    int32_t& most_before = before[sequence->version()];
    most_before = std::max(most_before, steps);
  }
  if (std::ssize(before) < scenario_.engine.limits.max_adapters_per_step) return;
  const int32_t delayed = StepsToFreePlace(now) - StepsToFreePlace(before);
  if (delayed > kStepsNotCounted) {
    Violate(fmt::format("P6: later requests delay the place that request {} waits for by {} steps",
                        first->first.value(), delayed));
  }
}

}  // namespace weft::sim
