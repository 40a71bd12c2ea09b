#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "adapter/load_policy.h"
#include "adapter/residency.h"
#include "base/clock.h"
#include "base/strong_id.h"

namespace weft::engine {

/// What bounds a step; fixed at start.
struct SchedulerLimits {
  int32_t max_running = 64;           ///< Sequences in a step (--max-running-requests).
  int32_t max_adapters_per_step = 8;  ///< Distinct adapters in a step (--max-loras-per-batch).
  int32_t max_prefill_tokens = 512;   ///< Prompt tokens in a step (--chunked-prefill-size).
  int32_t tokens_per_page = 16;
  int32_t adapter_page_limit = 0;  ///< Pages adapters may hold (--lora-memory); 0: no limit.
  int32_t max_overtakes = 64;      ///< P6: later requests that may start before a waiting one.
  int32_t max_reads = 4;           ///< Adapters being read at once.
  /// Where more adapters are wanted than there is room for: how long a request stands still before
  /// its adapter has a turn (--lora-turn-patience). 0: no turns, the line of PlaceLine.
  Duration turn_patience{};
  /// That a turn lasts at the least.
  Duration turn_slice = std::chrono::milliseconds(200);
  bool takes_turns() const { return turn_patience > Duration{}; }
  int32_t PagesFor(int32_t tokens) const {
    return (tokens + tokens_per_page - 1) / tokens_per_page;
  }
};

/// A sequence as the scheduler sees it. Ids ascend in order of arrival.
struct SequenceView {
  RequestId id;
  AdapterVersion adapter;   ///< kBaseModel: none.
  int32_t known = 0;        ///< Prompt and output, with the token that a step under way chooses.
  int32_t computed = 0;     ///< Tokens with KV, with those that steps under way compute. For one
                            ///< that waits: what the prefix cache has of it.
  int32_t tokens_left = 0;  ///< That it may generate yet, by max_new_tokens, without one that a
                            ///< step under way chooses.
  int32_t pages = 0;        ///< KV pages it holds.
  int32_t overtaken = 0;    ///< Later requests that started before it.
  bool has_lease = false;
  bool paused = false;  ///< Waits for its adapter's turn, with its KV. Its pages are in `pages`.
  Duration stood{};     ///< Of one that waits: since it came, or ran last.
};

struct AdapterView {
  AdapterVersion version;
  adapter::HostTier host = adapter::HostTier::kAbsent;
  adapter::DeviceTier device = adapter::DeviceTier::kAbsent;
  int32_t pages = 0;  ///< Of its image; 0 while unknown.
  int32_t leases = 0;
  bool stalled = false;  ///< Its read waits for host memory.
  bool pinned = false;
  bool draining = false;  ///< Unloaded or replaced: its files may be others by now.
  bool wanted_soon = false;
  bool has_turn = false;
  std::optional<Duration> turn_time;  ///< Since the first token of its turn.
};

/// Everything a plan depends on. The same snapshot gives the same plan.
struct Snapshot {
  int32_t free_pages = 0;
  int32_t evictable_prefix_pages = 0;
  int32_t adapter_pages = 0;  ///< Held by adapters now.
  int32_t reads_in_flight = 0;
  bool step_in_flight = false;  ///< At least one.
  bool may_step = true;         ///< One more step may be submitted now.
  bool may_load = true;         ///< False: loads were tried in this turn and could not begin.
  bool stepped_since_loads = true;
  std::vector<SequenceView> running;  ///< By arrival.
  std::vector<SequenceView> waiting;  ///< By arrival; suspended ones too.
  std::vector<AdapterView> adapters;  ///< By version: those anybody uses, and those on the device.
};

/// What to do now. Applied in the order of the fields.
struct Plan {
  struct Slice {
    RequestId id;
    int32_t rows = 0;
    bool operator==(const Slice&) const = default;
  };
  std::vector<RequestId> suspend;  ///< Sequences with KV that give up their pages and leases.
  std::vector<RequestId> pause;    ///< Running sequences whose adapter's turn is over.
  /// Adapters that have a turn from now on; null: as before.
  std::optional<std::vector<AdapterVersion>> turns;
  std::vector<RequestId> revoke;  ///< Waiting requests that give up their leases.
  std::vector<Slice> slices;      ///< Rows to compute. Waiting sequences among them start to run.
  std::vector<RequestId> lease;   ///< Waiting requests whose adapter is there and must stay.
  std::vector<RequestId> copy;    ///< Waiting requests whose adapter is copied now, and leased.
  std::vector<AdapterVersion> read;
  std::vector<AdapterVersion> prefetch;  ///< Not leased; only pinned ones evict idle adapters.
  bool starts_loads() const { return !copy.empty() || !read.empty(); }
};

}  // namespace weft::engine
