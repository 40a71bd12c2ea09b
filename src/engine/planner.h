#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "adapter/load_policy.h"
#include "engine/place_line.h"
#include "engine/snapshot.h"
#include "engine/turns.h"

namespace weft::engine {

/// The working state of one plan.
class Planner {
 public:
  Planner(const Snapshot& snapshot, const SchedulerLimits& limits,
          const adapter::LoadPolicy& policy);
  Plan Run();

 private:
  struct AdapterState {
    AdapterView view;
    int32_t leases = 0;    ///< As the plan leaves them.
    bool claimed = false;  ///< The plan brings it in or leases it.
    bool idle() const {
      return view.device == adapter::DeviceTier::kReady && leases == 0 && !view.pinned && !claimed;
    }
  };

  // scheduler.cc: whom the next step computes.
  AdapterState* Adapter(AdapterVersion version);
  bool AdapterReady(const SequenceView& sequence);
  int32_t AvailablePages() const {
    return free_pages_ + snapshot_.evictable_prefix_pages + idle_pages_;
  }
  /// Whether adapters that cannot give way leave --lora-memory room for `pages` more.
  bool WithinAdapterLimit(int32_t pages) const {
    return limits_.adapter_page_limit == 0 ||
           adapter_pages_ - idle_pages_ + pages <= limits_.adapter_page_limit;
  }
  bool CanStay(const AdapterState& adapter) const;
  void TakeLease(AdapterState& adapter);
  void EndLease(AdapterState& adapter);
  adapter::LoadSituation Situation();
  bool HasTurn(const SequenceView& sequence) const;
  bool Stopped(const SequenceView& sequence) const { return stopped_.contains(sequence.id); }
  void HoldBackStep();
  void TakeTurns();
  void KeepRunningWithinPages();
  void Suspend(const SequenceView& sequence);
  void LimitPasses(const SequenceView& stays) {
    passes_left_ = std::min(passes_left_, limits_.max_overtakes - stays.overtaken);
  }
  void ScheduleRunning();
  PlaceRoom RoomForAdapters() const;
  void AdmitWaiting();
  static bool GoesOnDecoding(const SequenceView& sequence);
  bool WithinCaps(const SequenceView& sequence) const;
  bool FindPages(const SequenceView& sequence);
  void Admit(const SequenceView& sequence);

  // planner_waiting.cc: what waiting sequences hold, and who may have to give it up.
  bool MayGiveUp(const SequenceView& waiting, const SequenceView* taker) const;
  bool MaySuspend(const SequenceView& waiting, const SequenceView* taker) const;
  const SequenceView* YoungestWaiting(bool with_turn,
                                      const std::function<bool(const SequenceView&)>& serves) const;
  bool RevokeYoungestWaiting(bool with_turn, const SequenceView* taker);
  bool SuspendYoungestPaused(bool with_turn, const SequenceView* taker);
  bool FreeYoungestWaiting(const SequenceView* taker);
  int32_t PagesOfWaiting(const SequenceView* taker, const AdapterState* except) const;

  // planner_loads.cc: which adapters are leased, copied and read, for whom.
  void PlanLoads();
  bool PlanLoad(const SequenceView& sequence, bool room);
  bool PlanDeviceLoad(const SequenceView& sequence, AdapterState& adapter);
  bool MakeAdapterRoom(const SequenceView& sequence, const AdapterState& adapter);
  bool PlanRead(AdapterState& adapter);
  bool HasRoomToPrefetch(const AdapterView& view) const;
  void PlanPrefetches();

  const Snapshot& snapshot_;
  const SchedulerLimits& limits_;
  const adapter::LoadPolicy& policy_;
  Plan plan_;
  std::unordered_map<AdapterVersion, AdapterState> adapters_;
  std::optional<Turns> turns_;
  std::set<RequestId> stopped_;  ///< Suspended or paused by this plan.
  bool suspends_running_ = false;
  /// How many more may pass those that stay behind (P6).
  int32_t passes_left_ = std::numeric_limits<int32_t>::max();
  std::set<RequestId> revoked_;
  std::set<RequestId> admitted_;
  std::vector<RequestId> started_;  ///< Of those, who had no KV.
  std::set<AdapterVersion> step_adapters_;
  int32_t free_pages_ = 0;
  int32_t idle_pages_ = 0;
  int32_t adapter_pages_ = 0;
  int32_t running_ = 0;
  int32_t prefill_budget_ = 0;
  int32_t reads_ = 0;
};

}  // namespace weft::engine
