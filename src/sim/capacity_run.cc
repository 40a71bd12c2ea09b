#include "sim/capacity_run.h"

#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "base/check.h"
#include "sim/virtual_io.h"
#include "sim/virtual_memory.h"
#include "sim/virtual_time.h"

namespace weft::sim {
namespace {

constexpr uintptr_t kHostBase = uintptr_t{1} << 40;
constexpr uintptr_t kDeviceBase = uintptr_t{1} << 50;
/// What every row chooses; no request looks at it.
constexpr TokenId kAnyToken = 1;
/// After the warm-up request, as `weft bench` has it.
constexpr Duration kPause = std::chrono::seconds(1);
constexpr int32_t kWarmUpTokens = 32;

/// Steps of which nothing is computed but the time they take.
class TimedExecutor final : public engine::StepExecutor {
 public:
  TimedExecutor(EventQueue& events, const Clock& clock, const CapacityScenario& scenario)
      : events_(events), clock_(clock), scenario_(scenario) {}

  void Submit(engine::StepJob job) override {
    jobs_.push_back(std::move(job));
    if (jobs_.size() == 1) Begin();
  }

  std::function<void(engine::StepDone)> done;

 private:
  void Begin() {
    const Duration takes =
        CostOf(jobs_.front().batch, scenario_.model, scenario_.dtype, scenario_.hardware);
    events_.After(takes, [this, begin = clock_.Now()] { Finish(begin); });
  }

  void Finish(Moment begin) {
    const engine::StepJob job = std::move(jobs_.front());
    jobs_.pop_front();
    engine::StepDone result;
    result.id = job.id;
    result.begin = begin;
    result.end = clock_.Now();
    result.samples.assign(job.batch.samples.size(), ops::SampledToken{kAnyToken});
    if (!jobs_.empty()) Begin();
    done(std::move(result));
  }

  EventQueue& events_;
  const Clock& clock_;
  const CapacityScenario& scenario_;
  std::deque<engine::StepJob> jobs_;  ///< The first is under way.
};

VirtualIo::Timing TimingOf(const CapacityScenario& scenario) {
  const auto page = static_cast<double>(scenario.engine.adapters.page_bytes);
  VirtualIo::Timing timing;
  timing.read_page = FromSeconds(page / scenario.hardware.read_bytes);
  timing.copy_page = FromSeconds(page / scenario.hardware.copied_bytes);
  const auto capped = [page](Bytes rate) {
    return rate > 0 ? FromSeconds(page / static_cast<double>(rate)) : Duration{};
  };
  timing.copy_page = std::max(timing.copy_page, capped(scenario.copy_bytes_per_second));
  timing.all_reads_page = capped(scenario.read_bytes_per_second);
  timing.jitter_percent = 0;
  return timing;
}

class CapacityRun {
 public:
  explicit CapacityRun(const CapacityScenario& scenario)
      : scenario_(scenario),
        events_(clock_),
        host_(kHostBase, scenario.engine.adapters.host_page_count,
              scenario.engine.adapters.page_bytes),
        device_(kDeviceBase, scenario.engine.page_count, scenario.engine.adapters.page_bytes),
        io_(events_, clock_, Random(0), TimingOf(scenario), host_, device_, scenario.model,
            scenario.engine.adapters.page_bytes, scenario.dtype),
        executor_(events_, clock_, scenario),
        sink_(std::make_shared<Sink>(*this)) {
    clock_.MoveTo(Moment(std::chrono::hours(1)));
    io_.replies.opened = [this](adapter::AdapterOpened message) { Receive(std::move(message)); };
    io_.replies.read = [this](adapter::AdapterRead message) { Receive(std::move(message)); };
    io_.replies.copied = [this](adapter::AdapterCopied message) { Receive(std::move(message)); };
    executor_.done = [this](engine::StepDone message) { Receive(std::move(message)); };
    engine::EngineOptions options = scenario.engine;
    options.adapters.host_arena = host_.base();
    options.adapters.device_arena = device_.base();
    engine_ =
        std::make_unique<engine::Engine>(options, scenario.model, executor_, io_, clock_, nullptr);
    for (const PlannedAdapter& adapter : scenario.adapters) Register(adapter);
  }

  CapacityOutcome Run() {
    CapacityOutcome outcome;
    for (int run = 0; run < scenario_.runs; ++run) outcome.runs.push_back(RunOnce());
    return outcome;
  }

 private:
  class Sink final : public engine::EventSink {
   public:
    explicit Sink(CapacityRun& run) : run_(run) {}
    void Deliver(std::vector<engine::RequestEvent> events) override { run_.OnEvents(events); }

   private:
    CapacityRun& run_;
  };

  void Register(const PlannedAdapter& adapter) {
    VirtualFile& file = io_.files()[adapter.name];
    file.content = 1 + io_.files().size();
    file.rank = adapter.rank;
    file.bytes_per_image_byte = adapter.file_bytes_per_image_byte;
    engine_->Handle(engine::LoadAdapterMessage{
        {adapter.name, adapter.name, false, false},
        true,
        [](const Result<engine::AdapterInfo>& registered) { WEFT_CHECK(registered.ok()); }});
  }

  CapacityOutcome::Run RunOnce() {
    WarmUp();
    if (scenario_.flush_cache)
      engine_->Handle(engine::FlushPrefixCacheMessage{[](const Status&) {}});
    run_ = {};
    run_.replies.resize(scenario_.requests.size());
    run_.stats_before = engine_->Statistics();
    run_.began = clock_.Now();
    for (size_t i = 0; i < scenario_.requests.size(); ++i)
      events_.After(scenario_.requests[i].at, [this, i] { Arrive(i); });
    RunToTheEnd();
    run_.stats = engine_->Statistics();
    return std::move(run_);
  }

  /// As `weft bench` sends one before its load.
  void WarmUp() {
    run_ = {};
    run_.replies.resize(scenario_.requests.size());
    PlannedRequest first = scenario_.requests.front();
    first.new_tokens = std::min(first.new_tokens, kWarmUpTokens);
    first.adapter = scenario_.adapters.empty() ? -1 : 0;
    for (int i = 0; i < scenario_.warmup_requests; ++i) Submit(0, first);
    RunToTheEnd();
    events_.After(kPause, [] {});
    RunToTheEnd();
  }

  void RunToTheEnd() {
    while (events_.RunNext()) {
    }
    WEFT_CHECK(engine_->live_requests() == 0);
  }

  void Arrive(size_t index) {
    run_.replies[index].sent = clock_.Now();
    if (scenario_.max_concurrency && open_ >= *scenario_.max_concurrency) {
      held_back_.push_back(index);
    } else {
      Submit(index, scenario_.requests[index]);
    }
  }

  void Submit(size_t index, const PlannedRequest& planned) {
    ++open_;
    run_.replies[index].sent = clock_.Now();
    engine::GenerationRequest request;
    if (planned.adapter >= 0)
      request.adapter = scenario_.adapters[static_cast<size_t>(planned.adapter)].name;
    request.prompt = planned.prompt;
    request.max_new_tokens = planned.new_tokens;
    request.ignore_eos = true;
    request.has_seed = true;
    const RequestId id(next_request_++);
    index_of_[id] = index;
    engine_->Handle(engine::SubmitMessage{id, std::move(request), sink_, clock_.Now()});
    Turn();
  }

  void Receive(engine::Message message) {
    engine_->Handle(std::move(message));
    Turn();
  }

  void Turn() {
    engine_->Turn();
    next_turn_.Arm(engine_->NextTurn());
  }

  void OnEvents(const std::vector<engine::RequestEvent>& events) {
    for (const engine::RequestEvent& event : events) {
      PlannedReply& reply = run_.replies[index_of_.at(event.id)];
      reply.tokens.insert(reply.tokens.end(), event.tokens.size(), clock_.Now());
      if (!event.finish) continue;
      reply.finish = event.finish;
      run_.ended = clock_.Now();
      index_of_.erase(event.id);
      --open_;
      if (held_back_.empty()) continue;
      // The engine delivers at the end of its turn; a new request is for the next one.
      events_.After(Duration{}, [this, index = held_back_.front()] {
        Submit(index, scenario_.requests[index]);
      });
      held_back_.pop_front();
    }
  }

  const CapacityScenario& scenario_;
  VirtualClock clock_;
  EventQueue events_;
  VirtualArena host_;
  VirtualArena device_;
  VirtualIo io_;
  TimedExecutor executor_;
  std::unique_ptr<engine::Engine> engine_;
  std::shared_ptr<Sink> sink_;
  CapacityOutcome::Run run_;
  std::map<RequestId, size_t> index_of_;
  std::deque<size_t> held_back_;  ///< By the client's own limit.
  int open_ = 0;
  int64_t next_request_ = 1;
  TurnTimer next_turn_{events_, clock_, [this] { Turn(); }};
};

}  // namespace

CapacityOutcome RunCapacity(const CapacityScenario& scenario) {
  WEFT_CHECK(!scenario.requests.empty());
  return CapacityRun(scenario).Run();
}

}  // namespace weft::sim
