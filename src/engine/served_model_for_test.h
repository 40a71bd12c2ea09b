#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "adapter/threaded_adapter_io.h"
#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"
#include "device/device.h"
#include "device/device_for_test.h"
#include "engine/engine_thread.h"
#include "engine/model_executor.h"
#include "engine/trace.h"
#include "model/transformer.h"

namespace weft::engine {

/// What came back for one request.
struct Answer {
  std::vector<ops::SampledToken> tokens;
  int32_t cached_tokens = 0;
  std::optional<Finish> finish;
};

/// Gathers events of any number of requests. Deliver on the engine's thread, the rest on any.
class Answers final : public EventSink {
 public:
  void Deliver(std::vector<RequestEvent> events) override {
    std::lock_guard lock(mutex_);
    for (RequestEvent& event : events) {
      Answer& answer = answers_[event.id];
      if (answer.finish) ++events_after_last_;
      for (ops::SampledToken& token : event.tokens) answer.tokens.push_back(std::move(token));
      if (!event.tokens.empty()) answer.cached_tokens = event.cached_tokens;
      if (event.finish) answer.finish = std::move(event.finish);
    }
    changed_.notify_all();
  }
  /// The answer once it has its last event; after half a minute, as far as it is.
  Answer Wait(RequestId id) {
    return WaitUntil(id, [](const Answer& answer) { return answer.finish.has_value(); });
  }
  Answer WaitForToken(RequestId id) {
    return WaitUntil(id,
                     [](const Answer& answer) { return answer.finish || !answer.tokens.empty(); });
  }
  int events_after_last() {
    std::lock_guard lock(mutex_);
    return events_after_last_;
  }

 private:
  template <typename Condition>
  Answer WaitUntil(RequestId id, Condition condition) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return condition(answers_[id]); });
    return answers_[id];
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestId, Answer> answers_;
  int events_after_last_ = 0;
};

/// How a ServedModel is set up; the defaults leave room for everything.
struct Setup {
  adapter::LoadPolicyKind policy = adapter::LoadPolicyKind::kOverlapped;
  int32_t chunk = 512;
  int32_t pages = 600;
  bool prefix_cache = false;
  int32_t steps_in_flight = 1;
  int32_t adapters_per_step = 8;
  Duration turn_patience{};
  bool trace = false;
  Bytes read_bytes_per_second = 0;
  Bytes copy_bytes_per_second = 0;
};

/// A real model of tests/data with its executor, loader and engine thread: what `weft serve` is
/// made of, without the server.
class ServedModel {
 public:
  explicit ServedModel(const Setup& setup)
      : setup_(setup),
        files_(std::move(
            checkpoint::OpenModel(LocalFiles(), SourceFolder() + "/tests/data/models/llama")
                .value())),
        device_(device::CreateDeviceForTest()),
        answers_(std::make_shared<Answers>()) {
    if (setup.trace) trace_ = std::make_unique<Trace>(clock_);
    MakeModel();
    MakeEngine();
  }
  ~ServedModel() { Stop(Duration{}); }

  void Register(const std::string& name, const std::string& folder) {
    std::promise<bool> done;
    engine_->Post(LoadAdapterMessage{
        {name, SourceFolder() + "/tests/data/adapters/" + folder, false, false},
        true,
        [&done](const Result<AdapterInfo>& result) { done.set_value(result.ok()); }});
    ASSERT_TRUE(done.get_future().get());
  }
  RequestId Submit(GenerationRequest request) {
    return engine_->Submit(std::move(request), answers_);
  }
  Answer Run(GenerationRequest request) { return answers_->Wait(Submit(std::move(request))); }
  void Stop(Duration limit) {
    if (stopped_) return;
    stopped_ = true;
    engine_->Stop(limit);
    io_->Stop();
  }
  Answers& answers() { return *answers_; }
  EngineThread& engine() { return *engine_; }
  const Trace& trace() const { return *trace_; }

 private:
  void MakeModel() {
    model::TransformerOptions options;
    options.threads = 2;
    options.max_rows = 600;
    options.deterministic = true;  // Bits are compared. What a CPU does anyway.
    options.min_page_bytes = adapter::LargestTile(files_.config, options.dtype);
    model_ = std::move(
        model::Transformer::Create(files_.config, files_.tensors.get(), *device_, options).value());
    const Bytes page = model_->kv_layout().page_bytes;
    pool_ = std::move(device_->AllocateDevice(setup_.pages * page).value());
    host_ = std::move(device_->AllocateHost(kHostPages * page).value());
    model_->BindPages(pool_.data(), setup_.pages);
  }

  EngineOptions Options() const {
    EngineOptions options;
    options.limits.max_prefill_tokens = setup_.chunk;
    options.limits.tokens_per_page = model_->kv_layout().tokens_per_page;
    options.adapters.page_bytes = model_->kv_layout().page_bytes;
    options.adapters.device_arena = pool_.data();
    options.adapters.host_arena = host_.data();
    options.adapters.host_page_count = kHostPages;
    options.limits.max_adapters_per_step = setup_.adapters_per_step;
    options.limits.turn_patience = setup_.turn_patience;
    options.limits.turn_slice = setup_.turn_patience / 2;
    options.load_policy = setup_.policy;
    options.page_count = setup_.pages;
    options.prefix_cache = setup_.prefix_cache;
    options.max_steps_in_flight = setup_.steps_in_flight;
    options.context_length = files_.config.context_length;
    return options;
  }

  void MakeEngine() {
    engine_ = std::make_unique<EngineThread>(1000, clock_, trace_.get());
    EngineThread& inbox = *engine_;
    executor_ = std::make_unique<ModelExecutor>(
        *model_, *device_, clock_, [&inbox](StepDone done) { inbox.Post(std::move(done)); });
    adapter::ThreadedAdapterIoOptions io;
    io.page_bytes = model_->kv_layout().page_bytes;
    io.loader.bytes_per_second = setup_.read_bytes_per_second;
    io.copy_bytes_per_second = setup_.copy_bytes_per_second;
    const adapter::AdapterIoReplies replies = {
        [&inbox](adapter::AdapterOpened message) { inbox.Post(std::move(message)); },
        [&inbox](adapter::AdapterRead message) { inbox.Post(std::move(message)); },
        [&inbox](adapter::AdapterCopied message) { inbox.Post(std::move(message)); }};
    adapter::LoadSpanSink spans;
    if (trace_) spans = [this](const adapter::LoadSpan& span) { Record(span); };
    io_ = std::make_unique<adapter::ThreadedAdapterIo>(
        LocalFiles(), files_.config, model_->tile_packer(), *device_, io, clock_, replies, spans);
    engine_->Start([this] {
      return std::make_unique<Engine>(Options(), files_.config, *executor_, *io_, clock_,
                                      trace_.get());
    });
  }

  void Record(const adapter::LoadSpan& span) {
    const bool copies = span.kind == adapter::LoadSpan::Kind::kCopy;
    trace_->Span(Trace::Group::kEngine, copies ? "copy" : "loader " + std::to_string(span.thread),
                 copies ? "copy" : "read", span.begin, span.end);
  }

  static constexpr int32_t kHostPages = 400;

  const Setup setup_;
  const SteadyClock clock_;
  checkpoint::ModelFiles files_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<Trace> trace_;
  std::unique_ptr<model::Transformer> model_;
  device::Buffer pool_;
  device::Buffer host_;
  std::shared_ptr<Answers> answers_;
  std::unique_ptr<EngineThread> engine_;
  std::unique_ptr<ModelExecutor> executor_;
  std::unique_ptr<adapter::ThreadedAdapterIo> io_;
  bool stopped_ = false;
};

}  // namespace weft::engine
