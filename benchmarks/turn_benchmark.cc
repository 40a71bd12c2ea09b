// What the engine's thread does between two steps: it collects 64 tokens, plans, applies, submits
// and delivers, while so many adapters are registered that nobody uses. The step itself takes no
// time here.
#include <benchmark/benchmark.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/engine.h"

namespace weft {
namespace {

constexpr int32_t kSequences = 64;
constexpr int32_t kContext = 4096;
constexpr int32_t kTokensPerPage = 16;

/// Keeps the step that was submitted last until the benchmark answers it.
class HeldStep final : public engine::StepExecutor {
 public:
  void Submit(engine::StepJob job) override { job_ = std::move(job); }

  engine::StepDone Answer() {
    WEFT_CHECK(job_.has_value());
    engine::StepDone done;
    done.id = job_->id;
    done.samples.resize(job_->batch.samples.size());
    for (ops::SampledToken& sample : done.samples) sample.token = 7;
    job_.reset();
    return done;
  }

 private:
  std::optional<engine::StepJob> job_;
};

/// Nobody asks for an adapter here.
class NoAdapterIo final : public adapter::AdapterIo {
 public:
  void Open(adapter::OpenJob) override { WEFT_CHECK(false); }
  void Read(adapter::ReadJob) override { WEFT_CHECK(false); }
  void Copy(adapter::CopyJob) override { WEFT_CHECK(false); }
  void Promote(AdapterVersion) override { WEFT_CHECK(false); }
};

class CountedEnds final : public engine::EventSink {
 public:
  void Deliver(std::vector<engine::RequestEvent> events) override {
    for (const engine::RequestEvent& event : events) ended_ += event.finish ? 1 : 0;
  }
  int32_t TakeEnded() { return std::exchange(ended_, 0); }

 private:
  int32_t ended_ = 0;
};

ModelConfig SmolLm() {
  ModelConfig config;
  config.vocabulary = 49152;
  config.hidden = 576;
  config.intermediate = 1536;
  config.layers = 30;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  return config;
}

engine::EngineOptions Options() {
  engine::EngineOptions options;
  options.limits.max_running = kSequences;
  options.limits.tokens_per_page = kTokensPerPage;
  options.page_count = 1 + kSequences * (kContext / kTokensPerPage + 1);
  options.context_length = kContext;
  options.adapters.page_bytes = 64 * 1024;
  return options;
}

/// 64 requests that decode, one after the other in each place.
class BusyEngine {
 public:
  explicit BusyEngine(int64_t adapters) {
    for (int64_t i = 0; i < adapters; ++i) {
      engine_.Handle(engine::LoadAdapterMessage{
          {.name = "a" + std::to_string(i), .path = "/a"},
          /*register_only=*/true,
          [](const Result<engine::AdapterInfo>& done) { WEFT_CHECK(done.ok()); }});
    }
    for (int32_t i = 0; i < kSequences; ++i) SubmitRequest();
    engine_.Turn();
    for (int32_t i = 0; i < 4; ++i) Step();  // Prompts are computed.
  }

  void Step() {
    engine_.Handle(step_.Answer());
    engine_.Turn();
    const int32_t ended = sink_->TakeEnded();  // Once in 4,000 steps all of them.
    if (ended == 0) return;
    for (int32_t i = 0; i < ended; ++i) SubmitRequest();
    engine_.Turn();
  }

 private:
  void SubmitRequest() {
    engine::GenerationRequest request;
    request.prompt.assign(4, 11);
    request.sampling.temperature = 0;
    request.max_new_tokens = kContext - 8;
    request.ignore_eos = true;
    next_ = RequestId(next_.value() + 1);
    engine_.Handle(engine::SubmitMessage{next_, std::move(request), sink_, clock_.Now()});
  }

  const ModelConfig config_ = SmolLm();
  const SteadyClock clock_;
  HeldStep step_;
  NoAdapterIo io_;
  std::shared_ptr<CountedEnds> sink_ = std::make_shared<CountedEnds>();
  RequestId next_{0};
  engine::Engine engine_{Options(), config_, step_, io_, clock_, nullptr};
};

void BM_Turn(benchmark::State& state) {
  BusyEngine engine(state.range(0));
  for (auto _ : state) engine.Step();
}
BENCHMARK(BM_Turn)
    ->ArgName("adapters")
    ->Arg(0)
    ->Arg(1000)
    ->Arg(10000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace weft
