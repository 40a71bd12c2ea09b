#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "sim/scenario.h"
#include "sim/virtual_executor.h"
#include "sim/virtual_io.h"
#include "sim/virtual_memory.h"
#include "sim/virtual_time.h"

namespace weft::sim {

/// One step, by what it computed for whom. Requests are known by their index in the scenario.
struct StepRecord {
  Duration begin{};  ///< Since the history began.
  std::vector<int32_t> members;
};

/// What came back for one request.
struct RequestRecord {
  std::vector<TokenId> tokens;
  std::vector<Duration> token_times;  ///< Since the history began.
  std::optional<engine::Finish> finish;
};

/// What one history came to.
struct Outcome {
  /// The first broken promise, with its moment; none: all held.
  std::optional<std::string> violation;
  int64_t steps = 0;
  int64_t completed = 0;
  int64_t aborted = 0;
  int64_t refused = 0;
  int64_t suspensions = 0;
  int64_t pauses = 0;
  int64_t evictions = 0;
  int64_t loads = 0;
  int64_t tokens = 0;
  Duration length{};
  int64_t dropped_loads = 0;
  int64_t copied_bytes = 0;
  int64_t cached_tokens = 0;
  int32_t pool_pages = 0;
  int32_t most_pages_taken = 0;
  std::vector<StepRecord> step_records;
  std::vector<RequestRecord> request_records;  ///< By index of the scenario's request.
  uint64_t digest = 0;  ///< Of every event in order: equal digests, equal histories.
};

/// Runs the real engine through a scenario on virtual time, memory and files, and checks promises
/// P2 to P10 after every turn. Single-threaded and deterministic.
class History {
 public:
  explicit History(Scenario scenario);
  ~History();
  Outcome Run();

 private:
  struct Tracked;
  class Sink;

  void Schedule();
  void Perform(const std::vector<Action>& actions);
  void PerformOne(const Action& action);
  void SubmitRequest(const Action& action);
  void LoadAdapter(const Action& action, bool replace);
  void Receive(engine::Message message);
  void TurnAndCheck();
  void OnEvents(const std::vector<engine::RequestEvent>& events);
  void OnFinish(Tracked& tracked, const engine::Finish& finish);
  std::optional<uint64_t> ContentOf(const std::string& name) const;

  void RecordStep();

  void CheckPages();           // P2, P5
  void CheckWatched();         // P3
  void CheckSteps();           // P3
  void CheckPlaces();          // P6, history_places.cc
  void CheckOvertaking();      // P6
  void CheckEnded();           // P7
  void CheckEverythingFree();  // P7, P9
  std::string State();
  void Violate(const std::string& what);
  void EndAll();

  const Scenario scenario_;
  VirtualClock clock_;
  EventQueue events_;
  VirtualArena host_;
  VirtualArena device_;
  VirtualIo io_;
  VirtualExecutor executor_;
  std::unique_ptr<engine::Engine> engine_;
  std::shared_ptr<Sink> sink_;
  Outcome outcome_;
  std::map<RequestId, std::unique_ptr<Tracked>> requests_;
  std::map<int32_t, RequestId> by_index_;
  std::map<std::string, uint64_t> contents_;  ///< What each loaded name means now.
  std::set<std::string> unloaded_;
  std::set<uint64_t> faulted_contents_;
  std::set<RequestId> was_running_;         ///< After the last turn, with those that paused.
  std::optional<RequestId> first_in_line_;  ///< For a place, after the last turn.
  std::map<RequestId, int32_t> overtaken_;
  Moment start_{};
  TurnTimer next_turn_{events_, clock_, [this] { TurnAndCheck(); }};
  StepId recorded_step_{0};
  int64_t completed_steps_ = 0;
  int64_t next_request_ = 1;
};

}  // namespace weft::sim
