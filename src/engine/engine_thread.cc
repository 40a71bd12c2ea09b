#include "engine/engine_thread.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/thread_role.h"
#include "model/profile_report.h"

namespace weft::engine {
namespace {

/// Statistics are copied out at most this often while steps run.
constexpr Duration kStatsInterval = std::chrono::milliseconds(10);
/// Beyond --max-queued-requests, which the engine itself counts: aborts, administration, prefetch
/// hints.
constexpr size_t kInboxSlack = 4096;

}  // namespace

EngineThread::EngineThread(int32_t max_queued, const Clock& clock, Trace* trace,
                           const model::StepProfiler* profiler)
    : inbox_limit_(static_cast<size_t>(max_queued) + kInboxSlack),
      clock_(clock),
      trace_(trace),
      profiler_(profiler) {}

EngineThread::~EngineThread() { Stop(Duration{}); }

void EngineThread::Start(std::function<std::unique_ptr<Engine>()> make) {
  AssertMayBlock("EngineThread::Start");
  std::promise<void> made;
  std::future<void> is_made = made.get_future();
  thread_ = std::thread([this, make = std::move(make), made = std::move(made)]() mutable {
    pthread_setname_np(pthread_self(), "weft-engine");
    Run(make, std::move(made));
  });
  is_made.wait();
}

void EngineThread::PublishStats(Engine& engine) {
  EngineStats stats = engine.Statistics();
  std::lock_guard lock(stats_mutex_);
  stats_ = std::move(stats);
}

void EngineThread::Run(const std::function<std::unique_ptr<Engine>()>& make,
                       std::promise<void> made) {
  const EngineThreadScope engine_thread;
  const std::unique_ptr<Engine> engine = make();
  PublishStats(*engine);
  made.set_value();
  Moment published{};
  while (true) {
    std::vector<Message> messages = WaitForMessages(engine->NextTurn());
    for (Message& message : messages) engine->Handle(std::move(message));
    engine->Turn();
    const bool idle = engine->live_requests() == 0 && !engine->step_in_flight();
    const Moment now = clock_.Now();
    if (idle || now - published >= kStatsInterval) {
      published = now;
      PublishStats(*engine);
    }
    std::lock_guard lock(inbox_mutex_);
    {
      std::lock_guard idle_lock(idle_mutex_);
      idle_ = idle && inbox_.empty();
    }
    idle_changed_.notify_all();
    if (stopping_ && inbox_.empty() && idle) return;
  }
}

std::vector<Message> EngineThread::WaitForMessages(std::optional<Moment> until) {
  std::unique_lock lock(inbox_mutex_);
  const auto filled = [&] { return !inbox_.empty(); };
  if (until)
    inbox_filled_.wait_for(lock, *until - clock_.Now(), filled);
  else
    inbox_filled_.wait(lock, filled);
  return std::exchange(inbox_, {});
}

void EngineThread::Stop(Duration limit) {
  if (!thread_.joinable()) return;
  Post(DrainMessage{});
  {
    std::unique_lock lock(idle_mutex_);
    idle_changed_.wait_for(lock, limit, [&] { return idle_; });
  }
  {
    std::lock_guard lock(inbox_mutex_);
    stopping_ = true;
  }
  Post(AbortByClientIdMessage{});  // Also wakes the thread, which then sees that it is to stop.
  thread_.join();
}

void EngineThread::Post(Message message) {
  {
    std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::move(message));
  }
  inbox_filled_.notify_all();
}

RequestId EngineThread::Submit(GenerationRequest request, std::shared_ptr<EventSink> sink) {
  const RequestId id(next_request_.fetch_add(1));
  {
    std::lock_guard lock(inbox_mutex_);
    if (!stopping_ && inbox_.size() < inbox_limit_) {
      {
        std::lock_guard idle_lock(idle_mutex_);
        idle_ = false;
      }
      inbox_.push_back(SubmitMessage{id, std::move(request), std::move(sink), clock_.Now()});
      inbox_filled_.notify_all();
      return id;
    }
  }
  RequestEvent event;
  event.id = id;
  event.finish = Finish{
      FinishType::kError,
      MakeError(ErrorCode::kResourceExhausted, "the engine's inbox is full; try again later")};
  std::vector<RequestEvent> events;
  events.push_back(std::move(event));
  sink->Deliver(std::move(events));
  return id;
}

void EngineThread::Abort(RequestId id) { Post(AbortMessage{id, false}); }

void EngineThread::FinishAtStopString(RequestId id) { Post(AbortMessage{id, true}); }

void EngineThread::AbortByClientId(std::string client_id) {
  Post(AbortByClientIdMessage{std::move(client_id)});
}

void EngineThread::WantSoon(std::string adapter) {
  std::lock_guard lock(inbox_mutex_);
  if (inbox_.size() >= inbox_limit_) return;  // Only a hint.
  inbox_.push_back(WantSoonMessage{std::move(adapter)});
  inbox_filled_.notify_all();
}

void EngineThread::LoadAdapter(LoadAdapterRequest request,
                               std::function<void(Result<AdapterInfo>)> done) {
  Post(LoadAdapterMessage{std::move(request), false, std::move(done)});
}

void EngineThread::UnloadAdapter(std::string name, UnloadReply when,
                                 std::function<void(Status)> done) {
  Post(UnloadAdapterMessage{std::move(name), when, std::move(done)});
}

void EngineThread::ListAdapters(std::function<void(std::vector<AdapterInfo>)> done) {
  Post(ListAdaptersMessage{std::move(done)});
}

void EngineThread::FlushPrefixCache(std::function<void(Status)> done) {
  Post(FlushPrefixCacheMessage{std::move(done)});
}

EngineStats EngineThread::Stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

std::string EngineThread::TraceJson() const { return trace_ == nullptr ? "" : trace_->Json(); }

std::string EngineThread::Profile(ProfileForm form) const {
  if (profiler_ == nullptr) return "";
  const model::Profile profile = profiler_->Read();
  return form == ProfileForm::kJson ? model::ProfileJson(profile) : model::ProfileText(profile);
}

}  // namespace weft::engine
