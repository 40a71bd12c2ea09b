#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "adapter/adapter_cache.h"
#include "adapter/load_policy.h"
#include "base/clock.h"
#include "checkpoint/model_config.h"
#include "engine/messages.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/statistics.h"
#include "engine/step_executor.h"
#include "engine/step_forecast.h"
#include "engine/trace.h"
#include "memory/page_pool.h"
#include "memory/prefix_cache.h"

namespace weft::engine {

struct EngineOptions {
  SchedulerLimits limits;
  adapter::AdapterCacheOptions adapters;
  adapter::LoadPolicyKind load_policy = adapter::LoadPolicyKind::kOverlapped;
  int32_t page_count = 0;  ///< Of the device's arena; counts page 0.
  bool prefix_cache = true;
  int32_t context_length = 0;
  int32_t max_queued = 4096;
  uint64_t seed = 0;
  /// Steps submitted and not yet answered, 1 or 2. With 2 the next step is planned and queued while
  /// one runs, so that the device never waits for the engine; a sequence that then turns out to
  /// have ended is computed once in vain.
  int32_t max_steps_in_flight = 1;
  /// With 2: how long before the soonest end of a running step the next one is planned. Who comes
  /// earlier is in it.
  Duration planning_time = std::chrono::milliseconds(1);
  Duration prefetch_patience = std::chrono::seconds(2);  ///< How long "wanted soon" is believed.
};

/// The engine: all state of requests, pages and adapters, and the one Turn that moves it. It owns
/// no thread and never blocks: EngineThread runs it in the server, sim/ runs it against a virtual
/// clock. Not thread-safe.
///
/// A turn: plan from a snapshot -> apply the plan -> submit the step -> deliver events. What other
/// threads did comes in through Handle between turns.
class Engine {
 public:
  /// `executor`, `io`, `clock` and `trace` (may be null) outlive the engine.
  Engine(EngineOptions options, const ModelConfig& config, StepExecutor& executor,
         adapter::AdapterIo& io, const Clock& clock, Trace* trace);
  ~Engine();

  void Handle(Message message);
  void Turn();

  bool step_in_flight() const { return !in_flight_.empty(); }
  /// When the next turn is wanted even if no message comes; may be past.
  std::optional<Moment> NextTurn() const { return next_turn_; }
  /// Requests that have not ended.
  int32_t live_requests() const;
  /// Fills gauges and returns the statistics as they are now.
  EngineStats Statistics();

  const memory::PagePool& pool() const { return pool_; }
  const memory::PrefixCache& prefix_cache() const { return prefix_; }
  adapter::AdapterCache& adapters() { return adapters_; }
  /// For checks from outside: every sequence that has not been forgotten, by arrival.
  const std::map<RequestId, std::unique_ptr<Sequence>>& sequences() const { return sequences_; }
  const Plan& last_plan() const { return last_plan_; }

 private:
  /// What a row to sample is for.
  struct SampleTarget {
    RequestId sequence;
    int32_t prompt_index = -1;  ///< >= 0: a log-probability of the prompt; -1: the next token.
  };
  struct InFlight {
    StepId id;
    std::vector<Plan::Slice> slices;
    std::vector<SampleTarget> targets;
    int32_t prefill_rows = 0;
    bool has_decode = false;
  };

  // engine_requests.cc: from arrival to the last event.
  void On(SubmitMessage message);
  void On(const AbortMessage& message);
  void On(const AbortByClientIdMessage& message);
  void On(const DrainMessage& message);
  Status CheckRequest(const GenerationRequest& request) const;
  /// Pages that a request and its adapter may have beside the pinned adapters.
  int32_t RoomFor(const adapter::AdapterRecord* adapter, int32_t more_pinned = 0) const;
  /// Takes fewer new tokens than max_new_tokens, if that is a default, so that the request fits.
  void FitDefault(GenerationRequest& request, int32_t prompt_tokens,
                  const adapter::AdapterRecord* adapter) const;
  /// Whether a request of so many tokens can ever run beside the pinned adapters, and beside
  /// `more_pinned` pages of one that is about to be pinned.
  Status CheckFits(int32_t tokens, const adapter::AdapterRecord* adapter,
                   int32_t more_pinned = 0) const;
  void Refuse(const SubmitMessage& message, const Error& error);
  void Prepare(Sequence& sequence, SubmitMessage message);
  void Finish(Sequence& sequence, Finish finish, std::optional<RequestEvent> event = std::nullopt);
  void Abort(Sequence& sequence);
  void ReleaseMemory(Sequence& sequence);
  void Forget(RequestId id);
  void SetState(Sequence& sequence, SequenceState state);
  void Emit(const Sequence& sequence, RequestEvent event);
  void DeliverEvents();

  // engine_adapters.cc: administration, and what the loader says.
  void On(const WantSoonMessage& message);
  void On(LoadAdapterMessage message);
  void On(UnloadAdapterMessage message);
  void On(const ListAdaptersMessage& message);
  void On(const FlushPrefixCacheMessage& message);
  void On(const adapter::AdapterOpened& message);
  void On(const adapter::AdapterRead& message);
  void On(const adapter::AdapterCopied& message);
  Status CheckPinned(const adapter::OpenedAdapter& opened) const;
  void AdapterHostReady(adapter::AdapterRecord& record);
  void AdapterFailed(adapter::AdapterRecord& record, const Error& error);
  void AdapterGone(AdapterVersion version);
  AdapterInfo Describe(const adapter::AdapterRecord& record) const;

  // engine_snapshot.cc: what a plan is made from.
  void RankWaitingAdapters();
  Snapshot TakeSnapshot();
  SequenceView View(const Sequence& sequence, Moment now, bool peek) const;
  /// Of the step behind the one that runs.
  Moment PlanningBegins() const;
  /// Says in next_turn_ when, if it is only too early.
  bool MaySubmit();

  // engine_step.cc: apply, submit, collect.
  /// True: a step was submitted.
  bool PlanAndApply();
  /// False: the plan held back its step for loads, and none of them could begin.
  bool Apply(const Plan& plan);
  void Suspend(Sequence& sequence);
  void Pause(Sequence& sequence);
  bool Resume(Sequence& sequence);
  void GiveTurns(const std::vector<AdapterVersion>& turns);
  bool StartSequence(Sequence& sequence);
  bool GrowPages(Sequence& sequence, int32_t tokens);
  bool ReclaimPages(int32_t wanted, const adapter::AdapterRecord* except);
  bool LoadToDevice(adapter::AdapterRecord& record, adapter::CopyUrgency urgency, bool may_evict);
  void ApplySlices(const Plan& plan, std::vector<Plan::Slice>& runnable);
  /// How many of the planned loads began.
  int32_t ApplyLoads(const Plan& plan);
  void SubmitStep(const std::vector<Plan::Slice>& slices);
  void AppendSlice(Sequence& sequence, int32_t rows, StepJob& job, InFlight& step,
                   int32_t& logits_rows);
  int32_t MaxPrefixPages(const Sequence& sequence) const;
  void On(StepDone message);
  Sequence* WithKv(RequestId id) const;
  void CollectSlice(Sequence& sequence, int32_t rows);
  void CollectToken(Sequence& sequence, const ops::SampledToken& sample);
  void PublishPages(Sequence& sequence);

  const EngineOptions options_;
  const ModelConfig& config_;
  StepExecutor& executor_;
  const Clock& clock_;
  Trace* const trace_;
  std::unique_ptr<adapter::LoadPolicy> policy_;
  memory::PagePool pool_;
  memory::PrefixCache prefix_;
  adapter::AdapterCache adapters_;

  std::map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::map<RequestId, Sequence*> waiting_;
  std::map<RequestId, Sequence*> running_;
  std::map<RequestId, Sequence*> ending_;
  std::set<AdapterVersion> wanted_soon_;

  std::map<AdapterVersion, std::function<void(Result<AdapterInfo>)>> awaiting_load_;
  std::map<AdapterVersion, std::vector<std::function<void(Status)>>> awaiting_unload_;

  std::deque<InFlight> in_flight_;  ///< In the order submitted.
  Moment first_began_{};            ///< Of those, when it could begin.
  StepForecast forecast_;
  std::optional<Moment> next_turn_;
  StepId next_step_{1};
  StepId completed_step_{0};
  bool stepped_since_loads_ = true;
  bool draining_ = false;
  uint64_t seeds_drawn_ = 0;
  int64_t turn_ = 0;
  /// When this turn's work began: with the first message that it handles.
  std::optional<Moment> working_since_;
  bool collected_this_turn_ = false;
  Plan last_plan_;

  std::map<std::shared_ptr<EventSink>, std::vector<RequestEvent>> outbox_;
  Recorder statistics_;
};

}  // namespace weft::engine
