#include "engine/engine.h"

#include <utility>

#include "base/check.h"

namespace weft::engine {

Engine::Engine(EngineOptions options, const ModelConfig& config, StepExecutor& executor,
               adapter::AdapterIo& io, const Clock& clock, Trace* trace)
    : options_(std::move(options)),
      config_(config),
      executor_(executor),
      clock_(clock),
      trace_(trace),
      policy_(adapter::MakeLoadPolicy(options_.load_policy)),
      pool_(options_.page_count),
      prefix_(pool_, options_.limits.tokens_per_page),
      adapters_(options_.adapters, config, pool_, io, clock) {
  WEFT_CHECK(options_.max_steps_in_flight == 1 || options_.max_steps_in_flight == 2);
  adapters_.on_host_ready = [this](adapter::AdapterRecord& record) { AdapterHostReady(record); };
  adapters_.on_failure = [this](adapter::AdapterRecord& record, const Error& error) {
    AdapterFailed(record, error);
  };
  adapters_.on_gone = [this](AdapterVersion version) { AdapterGone(version); };
}

Engine::~Engine() = default;

void Engine::Handle(Message message) {
  if (!working_since_) working_since_ = clock_.Now();
  std::visit([this](auto&& content) { On(std::move(content)); }, std::move(message));
}

void Engine::Turn() {
  ++turn_;
  prefix_.SetNow(turn_);
  adapters_.SetNow(turn_);
  RankWaitingAdapters();
  adapters_.Sweep();
  // Who was suspended may have held fewer pages alone than the plan counted on.
  while ((PlanAndApply() && MaySubmit()) || (!step_in_flight() && !last_plan_.suspend.empty())) {
  }
  DeliverEvents();
  working_since_.reset();
  collected_this_turn_ = false;
}

bool Engine::PlanAndApply() {
  const StepId before = next_step_;
  Snapshot snapshot = TakeSnapshot();
  last_plan_ = MakePlan(snapshot, options_.limits, *policy_);
  if (!Apply(last_plan_)) {
    // It held back its step for loads that could not begin (a read that lacks host memory): plan
    // without them.
    snapshot = TakeSnapshot();
    snapshot.may_load = false;
    last_plan_ = MakePlan(snapshot, options_.limits, *policy_);
    Apply(last_plan_);
  }
  return next_step_ != before;
}

int32_t Engine::live_requests() const {
  return static_cast<int32_t>(waiting_.size() + running_.size());
}

EngineStats Engine::Statistics() {
  EngineStats& stats = statistics_.stats();
  stats.running = static_cast<int64_t>(running_.size());
  stats.suspended = 0;
  stats.paused = 0;
  for (const auto& [id, sequence] : waiting_) {
    if (sequence->state == SequenceState::kSuspended) ++stats.suspended;
    if (sequence->state == SequenceState::kPaused) ++stats.paused;
  }
  stats.waiting = static_cast<int64_t>(waiting_.size()) - stats.suspended - stats.paused;
  stats.pages_total = pool_.total();
  stats.pages_free = pool_.free();
  stats.pages_prefix = prefix_.evictable();
  stats.pages_kv = pool_.used(memory::PageUse::kKv) - stats.pages_prefix;
  stats.pages_adapter = pool_.used(memory::PageUse::kAdapter);
  stats.tokens_per_page = options_.limits.tokens_per_page;
  stats.page_bytes = options_.adapters.page_bytes;
  stats.adapter_host_bytes = adapters_.host_bytes();
  stats.max_loras_per_batch = options_.limits.max_adapters_per_step;
  stats.running_adapters.clear();
  stats.waiting_adapters.clear();
  stats.pages_adapter_idle = 0;
  for (const adapter::AdapterRecord* record : adapters_.Watched()) {
    if (record->idle_on_device()) stats.pages_adapter_idle += record->image_pages();
    if (record->users > record->waiting) stats.running_adapters.push_back(record->name);
    if (record->waiting > 0) stats.waiting_adapters.push_back(record->name);
  }
  stats.adapter_loads_total = adapters_.loads_by_result();
  stats.adapter_evictions_total = adapters_.evictions();
  const adapter::LinkUse link = adapters_.link_use();
  stats.adapter_copied_bytes_total = static_cast<uint64_t>(link.bytes);
  stats.copy_busy_seconds_total = Seconds(link.busy);
  return stats;
}

}  // namespace weft::engine
