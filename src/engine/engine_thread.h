#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/service.h"

namespace weft::engine {

/// The engine on a thread of its own, and the Service that other threads talk to. What they say
/// goes into one inbox; the thread takes all of it, lets the engine make a turn, and sleeps when
/// there is nothing to do.
///
/// Owned by the command. Start() is called once the executor and the loader exist, because they
/// post their replies here.
class EngineThread final : public Service {
 public:
  /// `trace` and `profiler` are null or outlive this.
  EngineThread(int32_t max_queued, const Clock& clock, Trace* trace,
               const model::StepProfiler* profiler = nullptr);
  ~EngineThread() override;

  /// `make` is called on the new thread. The engine lives and dies there; when this returns it is
  /// there, and Stats() are its.
  void Start(std::function<std::unique_ptr<Engine>()> make);
  /// Refuses new requests, waits at most `limit` for those that run, aborts the rest, and joins.
  void Stop(Duration limit);

  /// For loaders and executors. Any thread.
  void Post(Message message);

  RequestId Submit(GenerationRequest request, std::shared_ptr<EventSink> sink) override;
  void Abort(RequestId id) override;
  void FinishAtStopString(RequestId id) override;
  void AbortByClientId(std::string client_id) override;
  void WantSoon(std::string adapter) override;
  void LoadAdapter(LoadAdapterRequest request,
                   std::function<void(Result<AdapterInfo>)> done) override;
  void UnloadAdapter(std::string name, UnloadReply when, std::function<void(Status)> done) override;
  void ListAdapters(std::function<void(std::vector<AdapterInfo>)> done) override;
  void FlushPrefixCache(std::function<void(Status)> done) override;
  EngineStats Stats() const override;
  std::string TraceJson() const override;
  std::string Profile(ProfileForm form) const override;

 private:
  void Run(const std::function<std::unique_ptr<Engine>()>& make, std::promise<void> made);
  void PublishStats(Engine& engine);
  /// At most until then.
  std::vector<Message> WaitForMessages(std::optional<Moment> until);

  const size_t
      inbox_limit_;  ///< Of messages that clients cause; replies of the machinery always fit.
  const Clock& clock_;
  Trace* const trace_;
  const model::StepProfiler* const profiler_;
  std::atomic<int64_t> next_request_{1};

  std::mutex inbox_mutex_;
  std::condition_variable inbox_filled_;
  std::vector<Message> inbox_;
  bool stopping_ = false;

  mutable std::mutex stats_mutex_;
  EngineStats stats_;

  std::mutex idle_mutex_;
  std::condition_variable idle_changed_;
  bool idle_ = true;

  std::thread thread_;
};

}  // namespace weft::engine
