#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/snapshot.h"

namespace weft::engine {

/// Turns, where more adapters are wanted than a step, adapter memory or the pool has room for:
/// whose sequences may run. Those of the others pause: they keep their KV and give up their leases.
/// Pure; made for one plan.
///
/// Who comes first has a place first:
/// 1. adapters whose turn gave its first token less than turn_slice ago, or has yet to: every turn
///    gets its requests further, even where their KV was lost meanwhile;
/// 2. those one of whose requests max_overtakes later ones have passed: none of the requests behind
///    it may start before it;
/// 3. those without a turn that stand still for turn_patience: by how long;
/// 4. the others, by how many requests a step of theirs completes at the least: the sum, over their
///    sequences, of 1 / (steps to the end by max_new_tokens). That keeps the mean time of a request
///    short (Smith's rule), and an adapter that many wait for comes before one that few wait for.
///    A new turn must be worth twice the one that it ends, and have stood still for a part of
///    turn_patience.
/// An adapter that was unloaded, and whose image is gone, keeps its turn.
///
/// The bound (P6): who is n-th of those that stand still for turn_patience waits for those of the
/// first two groups, and for at most n slices, copies and first tokens more; but for KV pages and
/// places among max_running, which come free as sequences end, and may go to others meanwhile.
/// Where most adapters stand still for so long, turns go by that alone.
class Turns {
 public:
  Turns(const Snapshot& snapshot, const SchedulerLimits& limits);
  /// The base model always has one.
  bool Has(AdapterVersion adapter) const {
    return adapter == kBaseModel || holders_.contains(adapter);
  }
  std::vector<AdapterVersion> Holders() const { return {holders_.begin(), holders_.end()}; }

 private:
  /// An adapter that has sequences.
  struct Wanted {
    const AdapterView* view = nullptr;
    double completions = 0;  ///< Of a step, at the least.
    int32_t running = 0;     ///< Of its sequences.
    bool runs() const { return running > 0; }
    /// That one of its waiting sequences lacks, at the least, of those that may pass who waits
    /// before them.
    std::optional<int32_t> pages_to_start;
    std::optional<RequestId> passed_often;  ///< The first of its requests that were.
    Duration stood{};                       ///< The longest of its sequences.
    RequestId first;                        ///< By arrival.
  };
  /// Less comes first.
  struct Rank {
    int32_t group = 0;
    double within = 0;
    RequestId first;
    auto operator<=>(const Rank&) const = default;
  };
  struct Room {
    int32_t places = 0;     ///< Of adapters in a step.
    int32_t sequences = 0;  ///< In a step, at the least one of an adapter.
    int32_t memory_pages = 0;
    int32_t pool_pages = 0;
  };

  void Add(const SequenceView& sequence, bool runs);
  Rank RankOf(const Wanted& wanted) const;
  Room RoomForAll() const;
  void HandOut();

  const Snapshot& snapshot_;
  const SchedulerLimits& limits_;
  std::map<AdapterVersion, Wanted> wanted_;
  std::optional<RequestId> nobody_passes_;  ///< The first that no other may pass any more.
  int32_t spare_pages_ = 0;                 ///< That who starts could have.
  int32_t base_running_ = 0;                ///< Sequences of the base model.
  std::set<AdapterVersion> holders_;
};

}  // namespace weft::engine
