#include "sim/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/virtual_model.h"

namespace weft::sim {
namespace {

constexpr uintptr_t kHostBase = uintptr_t{1} << 40;
constexpr uintptr_t kDeviceBase = uintptr_t{1} << 41;
/// Far beyond what any scenario needs.
constexpr Duration kGiveUp = std::chrono::minutes(30);

engine::EngineOptions WithArenas(engine::EngineOptions options, const VirtualArena& host,
                                 const VirtualArena& device) {
  options.adapters.page_bytes = kPageBytes;
  options.adapters.host_arena = host.base();
  options.adapters.device_arena = device.base();
  return options;
}

}  // namespace

/// What the checker knows of a request, from what it sent and what came back.
struct History::Tracked {
  ScenarioRequest request;
  int32_t index = 0;                ///< In the scenario.
  std::optional<uint64_t> content;  ///< None: its adapter was unknown when it was sent.
  std::vector<TokenId> received;
  bool cancelled = false;
  bool finished = false;
  int64_t steps_at_end = 0;  ///< Completed steps when it finished.
};

class History::Sink final : public engine::EventSink {
 public:
  explicit Sink(History& history) : history_(history) {}
  void Deliver(std::vector<engine::RequestEvent> events) override { history_.OnEvents(events); }

 private:
  History& history_;
};

History::History(Scenario scenario)
    : scenario_(std::move(scenario)),
      events_(clock_),
      host_(kHostBase, scenario_.engine.adapters.host_page_count, kPageBytes),
      device_(kDeviceBase, scenario_.engine.page_count, kPageBytes),
      io_(events_, clock_, Random(scenario_.seed * 2 + 1), scenario_.io, host_, device_,
          scenario_.model, kPageBytes),
      executor_(events_, clock_, Random(scenario_.seed * 2 + 2), scenario_.step, device_,
                scenario_.engine.limits.tokens_per_page, scenario_.engine.max_steps_in_flight),
      sink_(std::make_shared<Sink>(*this)) {
  clock_.MoveTo(Moment(std::chrono::hours(1)));
  io_.files() = scenario_.files;
  io_.copy_failure_probability = scenario_.copy_failure_probability;
  io_.replies.opened = [this](adapter::AdapterOpened message) { Receive(std::move(message)); };
  io_.replies.read = [this](adapter::AdapterRead message) { Receive(std::move(message)); };
  io_.replies.copied = [this](adapter::AdapterCopied message) { Receive(std::move(message)); };
  executor_.done = [this](engine::StepDone message) {
    ++completed_steps_;
    Receive(std::move(message));
  };
  executor_.violation = [this](const std::string& what) { Violate("P5: " + what); };
  engine_ = std::make_unique<engine::Engine>(WithArenas(scenario_.engine, host_, device_),
                                             scenario_.model, executor_, io_, clock_, nullptr);
}

History::~History() = default;

Outcome History::Run() {
  for (const auto& [name, path] : scenario_.registered) {
    engine_->Handle(engine::LoadAdapterMessage{
        {name, path, false, false}, true, [](const Result<engine::AdapterInfo>&) {}});
    contents_[name] = scenario_.files.at(path).content;
  }
  start_ = clock_.Now();
  outcome_.request_records.resize(scenario_.requests.size());
  Schedule();
  while (!outcome_.violation && events_.RunNext()) {
    if (clock_.Now() - start_ > kGiveUp)
      Violate("P6: requests are still waiting after half an hour");
  }
  if (!outcome_.violation && engine_->live_requests() > 0) {
    Violate(fmt::format("P6: {} requests wait and nothing is under way", engine_->live_requests()));
  }
  if (!outcome_.violation) EndAll();
  const engine::EngineStats stats = engine_->Statistics();
  outcome_.steps = static_cast<int64_t>(stats.steps_total);
  outcome_.suspensions = static_cast<int64_t>(stats.suspensions_total);
  outcome_.pauses = static_cast<int64_t>(stats.pauses_total);
  outcome_.evictions = static_cast<int64_t>(stats.adapter_evictions_total);
  outcome_.loads = static_cast<int64_t>(stats.LoadsOf("ok"));
  outcome_.dropped_loads = static_cast<int64_t>(stats.LoadsOf("dropped"));
  outcome_.copied_bytes = static_cast<int64_t>(stats.adapter_copied_bytes_total);
  outcome_.cached_tokens = static_cast<int64_t>(stats.cached_tokens_total);
  outcome_.pool_pages = static_cast<int32_t>(stats.pages_total);
  outcome_.length = clock_.Now() - start_;
  return outcome_;
}

void History::Schedule() {
  for (size_t i = 0; i < scenario_.actions.size();) {
    std::vector<Action> together;
    const Duration at = scenario_.actions[i].at;
    while (i < scenario_.actions.size() && scenario_.actions[i].at == at) {
      together.push_back(scenario_.actions[i++]);
    }
    events_.After(at, [this, together = std::move(together)] { Perform(together); });
  }
}

void History::Perform(const std::vector<Action>& actions) {
  for (const Action& action : actions) PerformOne(action);
  TurnAndCheck();
}

void History::PerformOne(const Action& action) {
  switch (action.kind) {
    case Action::Kind::kRequest:
      SubmitRequest(action);
      break;
    case Action::Kind::kCancel: {
      const auto id = by_index_.find(action.request);
      if (id == by_index_.end()) break;
      requests_.at(id->second)->cancelled = true;
      engine_->Handle(engine::AbortMessage{id->second, false});
      break;
    }
    case Action::Kind::kUnload:
      engine_->Handle(engine::UnloadAdapterMessage{
          action.name, engine::Service::UnloadReply::kAtOnce, [this, action](const Status& status) {
            if (!status.ok()) return;
            contents_.erase(action.name);
            unloaded_.insert(action.name);
          }});
      break;
    case Action::Kind::kLoad:
      LoadAdapter(action, false);
      break;
    case Action::Kind::kReplace:
      LoadAdapter(action, true);
      break;
    case Action::Kind::kFault: {
      VirtualFile& file = io_.files()[action.path];
      file.fault = action.fault;
      faulted_contents_.insert(file.content);
      break;
    }
    case Action::Kind::kWantSoon:
      engine_->Handle(engine::WantSoonMessage{action.name});
      break;
    case Action::Kind::kFlush:
      engine_->Handle(engine::FlushPrefixCacheMessage{[](const Status&) {}});
      break;
  }
}

/// What a request for this name must be served with; none: it must be refused.
std::optional<uint64_t> History::ContentOf(const std::string& name) const {
  if (name.empty()) return 0;
  const auto loaded = contents_.find(name);
  if (loaded != contents_.end()) return loaded->second;
  const std::string& folder = scenario_.engine.adapters.lora_dir;
  if (folder.empty() || unloaded_.contains(name)) return std::nullopt;
  const auto file = scenario_.files.find(folder + "/" + name);
  if (file == scenario_.files.end()) return std::nullopt;
  return file->second.content;
}

void History::SubmitRequest(const Action& action) {
  const RequestId id(next_request_++);
  auto tracked = std::make_unique<Tracked>();
  tracked->request = scenario_.requests.at(static_cast<size_t>(action.request));
  tracked->index = action.request;
  tracked->content = ContentOf(action.name);
  engine::GenerationRequest request;
  request.adapter = action.name;
  request.prompt = tracked->request.prompt;
  request.max_new_tokens = tracked->request.max_new_tokens;
  request.sampling.seed = tracked->request.seed;
  request.has_seed = true;
  by_index_[action.request] = id;
  requests_.emplace(id, std::move(tracked));
  engine_->Handle(engine::SubmitMessage{id, std::move(request), sink_, clock_.Now()});
}

void History::LoadAdapter(const Action& action, bool replace) {
  const uint64_t content = io_.files()[action.path].content;
  engine_->Handle(engine::LoadAdapterMessage{{action.name, action.path, action.pinned, replace},
                                             false,
                                             [this, action, content](const auto& result) {
                                               if (!result.ok()) return;
                                               contents_[action.name] = content;
                                               unloaded_.erase(action.name);
                                             }});
}

void History::Receive(engine::Message message) {
  engine_->Handle(std::move(message));
  TurnAndCheck();
}

void History::TurnAndCheck() {
  if (outcome_.violation) return;
  engine_->Turn();
  next_turn_.Arm(engine_->NextTurn());
  RecordStep();
  CheckPages();
  CheckWatched();
  CheckSteps();
  CheckPlaces();
  CheckOvertaking();
  CheckEnded();
}

void History::OnEvents(const std::vector<engine::RequestEvent>& events) {
  for (const engine::RequestEvent& event : events) {
    Tracked& tracked = *requests_.at(event.id);
    RequestRecord& record = outcome_.request_records.at(static_cast<size_t>(tracked.index));
    if (event.finish) record.finish = event.finish;
    if (tracked.finished) Violate("an event after a request's last");
    for (const ops::SampledToken& token : event.tokens) {
      tracked.received.push_back(token.token);
      record.tokens.push_back(token.token);
      record.token_times.push_back(clock_.Now() - start_);
      ++outcome_.tokens;
      outcome_.digest =
          Random::Mix(outcome_.digest + static_cast<uint64_t>(event.id.value() * 64 + token.token) +
                      static_cast<uint64_t>(clock_.Now().time_since_epoch().count()));
    }
    if (event.finish) OnFinish(tracked, *event.finish);
  }
}

void History::OnFinish(Tracked& tracked, const engine::Finish& finish) {
  tracked.finished = true;
  tracked.steps_at_end = completed_steps_;
  const auto expected =
      VirtualModel::Generate(tracked.request.prompt, tracked.content.value_or(0),
                             tracked.request.seed, tracked.request.max_new_tokens);
  const bool is_beginning =
      tracked.received.size() <= expected.size() &&
      std::equal(tracked.received.begin(), tracked.received.end(), expected.begin());
  if (!is_beginning) Violate("P4, P10: a request got tokens that are not its own");
  switch (finish.type) {
    case engine::FinishType::kStop:
    case engine::FinishType::kLength:
      ++outcome_.completed;
      if (!tracked.content) Violate("P9: a request for an unknown adapter was served");
      if (tracked.received.size() != expected.size()) Violate("P4: a request ended too early");
      break;
    case engine::FinishType::kAbort:
      ++outcome_.aborted;
      if (!tracked.cancelled) Violate("P8: a request was aborted that nobody cancelled");
      break;
    case engine::FinishType::kError: {
      ++outcome_.refused;
      if (finish.error.message.empty()) Violate("P8: an error without a message");
      // Pinned adapters may leave too little room for a request that fits the pool alone.
      const bool pins = std::any_of(scenario_.actions.begin(), scenario_.actions.end(),
                                    [](const Action& action) { return action.pinned; });
      const bool excused = !tracked.content || faulted_contents_.contains(*tracked.content) ||
                           finish.error.code == ErrorCode::kResourceExhausted ||
                           scenario_.copy_failure_probability > 0 ||
                           (pins && finish.error.code == ErrorCode::kInvalidArgument);
      if (!excused)
        Violate("P8: a request failed for no fault of its own: " + finish.error.message);
      break;
    }
  }
}

/// The engine's state, for whoever looks into a violation.
std::string History::State() {
  std::string text =
      fmt::format("{} of {} pages free, {} unused prefix pages\n", engine_->pool().free(),
                  engine_->pool().total(), engine_->prefix_cache().evictable());
  for (const auto& [id, sequence] : engine_->sequences()) {
    text += fmt::format(
        "  request {}: state {}, adapter {}, {} known, {} computed, {} pages, lease {}, overtaken "
        "{}\n",
        id.value(), static_cast<int>(sequence->state), sequence->version().value(),
        sequence->known(), sequence->computed, sequence->pages.size(),
        static_cast<bool>(sequence->lease), sequence->overtaken);
  }
  const engine::Plan& plan = engine_->last_plan();
  text +=
      fmt::format("  last plan: {} slices, {} suspend, {} revoke, {} lease, {} copy, {} read\n",
                  plan.slices.size(), plan.suspend.size(), plan.revoke.size(), plan.lease.size(),
                  plan.copy.size(), plan.read.empty() ? -1 : plan.read[0].value());
  for (const adapter::AdapterRecord* record : engine_->adapters().Records()) {
    text += fmt::format(
        "  adapter {} '{}': host {}, device {}, {}, {} pages, {} leases, {} users, {} waiting\n",
        record->version.value(), record->name, Name(record->residency.host),
        Name(record->residency.device), Name(record->residency.lifecycle), record->image_pages(),
        record->leases, record->users, record->waiting);
  }
  return text;
}

void History::Violate(const std::string& what) {
  if (outcome_.violation) return;
  outcome_.violation =
      fmt::format("at {:.3f} ms: {}\n{}", Seconds(clock_.Now().time_since_epoch()) * 1e3 - 3.6e6,
                  what, State());
}

/// The members are those that the step's slices were made for, by the engine's own mark on them.
void History::RecordStep() {
  if (recorded_step_ == executor_.last_step()) return;
  recorded_step_ = executor_.last_step();
  StepRecord record;
  record.begin = clock_.Now() - start_;
  for (const auto& [id, sequence] : engine_->sequences()) {
    if (sequence->last_step == recorded_step_) record.members.push_back(requests_.at(id)->index);
  }
  outcome_.step_records.push_back(std::move(record));
}

// Checks

void History::CheckPages() {
  const memory::PagePool& pool = engine_->pool();
  if (pool.total() + 1 != device_.size()) Violate("P2: the pool's size changed");
  std::set<PageIndex> owned = {PageIndex(0)};
  int32_t private_pages = 0;
  int32_t adapter_pages = 0;
  const auto own = [&](PageIndex page, const char* owner) {
    if (!owned.insert(page).second) {
      Violate(fmt::format("P5: page {} has a second owner: {}", page.value(), owner));
    }
  };
  for (const auto& [id, sequence] : engine_->sequences()) {
    for (size_t i = sequence->nodes.size(); i < sequence->pages.size(); ++i, ++private_pages) {
      own(sequence->pages[i], "a sequence");
    }
  }
  for (const adapter::AdapterRecord* record : engine_->adapters().Records()) {
    for (const PageIndex page : record->device_pages) own(page, "an adapter");
    adapter_pages += static_cast<int32_t>(record->device_pages.size());
  }
  const int32_t limit = scenario_.engine.limits.adapter_page_limit;
  if (limit > 0 && adapter_pages > limit)
    Violate("P2: adapters hold more pages than --lora-memory");
  const int32_t used = private_pages + adapter_pages + engine_->prefix_cache().cached();
  const int32_t taken = pool.total() - pool.free();
  outcome_.most_pages_taken = std::max(outcome_.most_pages_taken, taken);
  if (used > taken || (!engine_->step_in_flight() && used != taken)) {
    Violate(fmt::format("P2: {} pages are taken, but only {} are somebody's", taken, used));
  }
}

/// A turn looks at watched adapters alone, so none that matters may be missing.
void History::CheckWatched() {
  const std::vector<adapter::AdapterRecord*> watched = engine_->adapters().Watched();
  const std::set<const adapter::AdapterRecord*> known(watched.begin(), watched.end());
  for (const adapter::AdapterRecord* record : engine_->adapters().Records()) {
    const bool stays = record->pinned && record->residency.lifecycle == adapter::Lifecycle::kActive;
    const bool matters = record->users > 0 || record->ready() || record->awaited || stays;
    if (matters && !known.contains(record)) {
      Violate(fmt::format("P3: adapter '{}' matters, and no turn looks at it", record->name));
    }
  }
}

void History::CheckSteps() {
  if (scenario_.engine.load_policy != adapter::LoadPolicyKind::kOverlapped) return;
  if (engine_->step_in_flight()) return;
  bool running = false;
  for (const auto& [id, sequence] : engine_->sequences()) {
    running |= sequence->state == engine::SequenceState::kRunning;
  }
  bool copying = false;
  for (const adapter::AdapterRecord* record : engine_->adapters().Records()) {
    copying |= !record->device_pages.empty() && !record->ready();
  }
  // A sequence may have to wait for a page that a copy under way still holds, and for nothing else.
  if (running && !copying) Violate("P3: sequences run and no step is under way");
}

void History::CheckOvertaking() {
  std::set<RequestId> waiting;
  std::set<RequestId> running;
  for (const auto& [id, sequence] : engine_->sequences()) {
    if (sequence->has_kv()) running.insert(id);
    const bool waits = sequence->state == engine::SequenceState::kWaiting ||
                       sequence->state == engine::SequenceState::kSuspended;
    // Who was passed while it paused, and lost its KV later in the turn, was not overtaken.
    const bool may_have_paused = scenario_.engine.limits.takes_turns() && was_running_.contains(id);
    if (waits && !may_have_paused) waiting.insert(id);
  }
  for (const RequestId id : running) {
    if (was_running_.contains(id)) continue;
    for (const RequestId other : waiting) {
      if (other < id && ++overtaken_[other] > scenario_.engine.limits.max_overtakes) {
        Violate(
            fmt::format("P6: request {} was overtaken {} times", other.value(), overtaken_[other]));
      }
    }
  }
  was_running_ = std::move(running);
}

void History::CheckEnded() {
  for (const auto& [id, sequence] : engine_->sequences()) {
    if (sequence->state != engine::SequenceState::kEnding) continue;
    if (!engine_->step_in_flight())
      Violate("P7: an ended request holds pages and no step is under way");
    if (completed_steps_ > requests_.at(id)->steps_at_end + scenario_.engine.max_steps_in_flight) {
      Violate("P7: an ended request held its pages for longer than the steps under way");
    }
  }
}

void History::EndAll() {
  for (const adapter::AdapterRecord* record : engine_->adapters().Records()) {
    if (record->residency.lifecycle == adapter::Lifecycle::kDraining) continue;
    engine_->Handle(engine::UnloadAdapterMessage{std::string(record->name),
                                                 engine::Service::UnloadReply::kWhenDrained,
                                                 [](const Status&) {}});
  }
  TurnAndCheck();
  while (!outcome_.violation && events_.RunNext()) {
  }
  const bool base_alone =
      std::any_of(scenario_.requests.begin(), scenario_.requests.end(),
                  [](const ScenarioRequest& request) { return request.adapter.empty(); });
  if (!base_alone && engine_->prefix_cache().cached() > 0) {
    Violate("P9: prefixes computed with unloaded adapters are still cached");
  }
  engine_->Handle(engine::FlushPrefixCacheMessage{[](const Status&) {}});
  TurnAndCheck();
  CheckEverythingFree();
}

void History::CheckEverythingFree() {
  for (const auto& [id, tracked] : requests_) {
    if (!tracked->finished) Violate("P6: a request never got its last event");
  }
  if (!engine_->sequences().empty()) Violate("P7: ended requests are still there");
  if (!engine_->adapters().Records().empty()) Violate("P9: unloaded adapters are still there");
  if (engine_->adapters().host_bytes() != 0) Violate("P9: host memory is still held");
  if (engine_->pool().free() != engine_->pool().total()) Violate("P9: pages are still held");
}

}  // namespace weft::sim
