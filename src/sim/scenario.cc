#include "sim/scenario.h"

#include <algorithm>

#include "sim/virtual_model.h"

namespace weft::sim {
namespace {

constexpr Duration kMillisecond = std::chrono::milliseconds(1);

class Drawing {
 public:
  explicit Drawing(uint64_t seed) : random_(Random::Mix(seed + 1)) { scenario_.seed = seed; }

  Scenario Draw() {
    scenario_.model = SmallModel();
    DrawFiles();
    DrawEngine();
    DrawRequests();
    DrawAdministration();
    std::stable_sort(scenario_.actions.begin(), scenario_.actions.end(),
                     [](const Action& a, const Action& b) { return a.at < b.at; });
    return std::move(scenario_);
  }

 private:
  Duration Sometime() { return kMillisecond * random_.Between(0, length_ms_); }

  void DrawFiles() {
    adapters_ = random_.Between(1, 10);
    length_ms_ = random_.Between(20, 600);
    in_folder_ = random_.Chance(0.2);
    restless_ = random_.Chance(0.25);
    for (int32_t i = 0; i < adapters_; ++i) {
      const std::string name = "adapter" + std::to_string(i);
      const std::string path = "disk/" + name;
      scenario_.files[path] = {random_.Next() | 1, random_.Between(1, 6) * 8, FileFault::kNone};
      if (!in_folder_) scenario_.registered.emplace_back(name, path);
    }
  }

  void DrawEngine() {
    engine::EngineOptions& engine = scenario_.engine;
    engine.limits.tokens_per_page = random_.Chance(0.5) ? 4 : 16;
    engine.limits.max_running = random_.Between(1, 10);
    engine.limits.max_adapters_per_step = random_.Between(1, 4);
    engine.limits.max_prefill_tokens = random_.Between(3, 80);
    engine.limits.max_overtakes = random_.Between(1, 20);
    engine.limits.max_reads = random_.Between(1, 4);
    if (random_.Chance(0.6)) {
      engine.limits.turn_patience = kMillisecond * random_.Between(1, 300);
      engine.limits.turn_slice = kMillisecond * random_.Between(0, 60);
    }
    largest_image_ = 48;  // Pages of rank 48 with every projection, with room to spare.
    engine.page_count = 1 + largest_image_ + 80 / engine.limits.tokens_per_page +
                        random_.Between(1, random_.Chance(0.7) ? 30 : 200);
    if (random_.Chance(0.4)) {
      engine.limits.adapter_page_limit = largest_image_ + random_.Between(0, 30);
    }
    engine.adapters.adapter_page_limit = engine.limits.adapter_page_limit;
    engine.adapters.max_concurrent_reads = engine.limits.max_reads;
    engine.adapters.host_page_count = 1 + largest_image_ * random_.Between(1, 6);
    if (random_.Chance(0.3)) engine.adapters.max_loaded = random_.Between(1, 5);
    if (random_.Chance(0.3)) engine.adapters.eviction = adapter::EvictionKind::kFifo;
    if (random_.Chance(0.3)) engine.load_policy = adapter::LoadPolicyKind::kBlocking;
    if (in_folder_) engine.adapters.lora_dir = "disk";
    if (random_.Chance(0.5))
      engine.adapters.retry_after = kMillisecond * random_.Between(1, length_ms_);
    if (random_.Chance(0.5))
      engine.prefetch_patience = kMillisecond * random_.Between(1, length_ms_);
    engine.prefix_cache = random_.Chance(0.6);
    engine.context_length = 100;
    engine.max_queued = random_.Chance(0.1) ? 5 : 1000;
    engine.seed = random_.Next();
    engine.max_steps_in_flight = random_.Chance(0.5) ? 2 : 1;
    engine.planning_time = std::chrono::microseconds(random_.Between(0, 20000));
    scenario_.io.read_page = std::chrono::microseconds(random_.Between(10, 2000));
    scenario_.io.copy_page = std::chrono::microseconds(random_.Between(10, 2000));
    if (random_.Chance(0.3)) scenario_.step.step = kMillisecond * random_.Between(1, 40);
    if (random_.Chance(0.05)) scenario_.copy_failure_probability = 0.02;
  }

  std::string SomeAdapter() {
    if (random_.Chance(0.15)) return "";
    if (random_.Chance(0.03)) return "nobody";
    return "adapter" + std::to_string(random_.Between(0, adapters_ - 1));
  }

  void DrawRequests() {
    const int32_t count = random_.Between(1, 40);
    const bool burst = random_.Chance(0.2);
    for (int32_t i = 0; i < count; ++i) {
      ScenarioRequest request;
      request.adapter = SomeAdapter();
      // Few tokens and shared beginnings, so that prefixes are shared.
      const int32_t length = random_.Between(1, 60);
      const int32_t shared = random_.Chance(0.5) ? random_.Between(0, length) : 0;
      for (int32_t t = 0; t < length; ++t) {
        request.prompt.push_back(t < shared ? 1 + t % 7
                                            : random_.Between(1, VirtualModel::kVocabulary - 1));
      }
      request.max_new_tokens = random_.Between(1, 30);
      request.seed = random_.Next();
      const Duration at = burst ? Duration{} : Sometime();
      scenario_.actions.push_back(
          {Action::Kind::kRequest, at, request.adapter, "", false, FileFault::kNone, i});
      if (random_.Chance(restless_ ? 0.6 : 0.15)) {
        scenario_.actions.push_back({Action::Kind::kCancel,
                                     at + kMillisecond * random_.Between(0, 100), "", "", false,
                                     FileFault::kNone, i});
      }
      scenario_.requests.push_back(std::move(request));
    }
  }

  void DrawAdministration() {
    const int32_t quiet = random_.Chance(0.5) ? random_.Between(0, 8) : 0;
    const int32_t count = restless_ ? random_.Between(5, 30) : quiet;
    for (int32_t i = 0; i < count; ++i) {
      Action action;
      action.at = Sometime();
      action.name = "adapter" + std::to_string(random_.Between(0, adapters_ - 1));
      action.path = "disk/" + action.name;
      switch (random_.Between(0, 5)) {
        case 0:
          action.kind = Action::Kind::kUnload;
          break;
        case 1:
          action.kind = Action::Kind::kLoad;
          action.pinned = random_.Chance(0.2);
          break;
        case 2:
          action.kind = Action::Kind::kReplace;
          action.path += "-" + std::to_string(i);
          scenario_.files[action.path] = {random_.Next() | 1, random_.Between(1, 6) * 8,
                                          FileFault::kNone};
          break;
        case 3:
          action.kind = Action::Kind::kFault;
          action.fault = static_cast<FileFault>(random_.Between(0, 4));
          break;
        case 4:
          action.kind = Action::Kind::kWantSoon;
          break;
        default:
          action.kind = Action::Kind::kFlush;
      }
      scenario_.actions.push_back(std::move(action));
    }
  }

  Random random_;
  Scenario scenario_;
  int32_t adapters_ = 0;
  int32_t length_ms_ = 0;
  int32_t largest_image_ = 0;
  bool in_folder_ = false;
  bool restless_ = false;  ///< Many cancels, unloads and replacements.
};

}  // namespace

ModelConfig SmallModel() {
  ModelConfig model;
  model.vocabulary = VirtualModel::kVocabulary;
  model.hidden = 64;
  model.intermediate = 96;
  model.layers = 2;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 16;
  model.context_length = 100;
  model.end_tokens = {VirtualModel::kEndToken};
  return model;
}

Scenario DrawScenario(uint64_t seed) { return Drawing(seed).Draw(); }

}  // namespace weft::sim
