#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapter/threaded_adapter_io.h"
#include "base/clock.h"
#include "checkpoint/model_files.h"
#include "cli/engine_options.h"
#include "cli/serve_options.h"
#include "device/device.h"
#include "engine/engine_thread.h"
#include "engine/model_executor.h"
#include "engine/trace.h"
#include "model/step_profiler.h"
#include "model/transformer.h"
#include "server/server.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace weft::cli {

/// Everything `weft serve` is made of, put together in the order it must be, and taken apart in the
/// reverse. Main thread.
class Serving {
 public:
  /// Loads the model, allocates the pool and starts all threads but the server's. Blocks for as
  /// long as files take.
  static Result<std::unique_ptr<Serving>> Create(const ServeOptions& options);
  ~Serving();

  Status StartServer(std::vector<std::pair<std::string, std::string>> flags);
  std::string Address() const;
  /// Lets running requests finish for at most `limit`, then ends them; writes the trace.
  void Stop(Duration limit);
  /// Ends every request now. Any thread, between Create and the end of Stop.
  void AbortAll();

 private:
  explicit Serving(const ServeOptions& options) : options_(options) {}

  Status Load();
  Status OpenFiles();
  Status ChooseSizes();
  Status LoadText();
  Status LoadModel();
  Status AllocatePool();
  Status AllocateHostImages();
  Status StartProfile();
  Status CheckAdapters();
  void StartEngine();
  Status RegisterAdapters();
  engine::EngineOptions MakeEngineOptions() const;
  void RecordSpan(const adapter::LoadSpan& span);
  void WriteTrace() const;

  const ServeOptions options_;
  const SteadyClock clock_;
  std::optional<server::BoundPort> port_;  ///< Until the server has it.
  std::unique_ptr<engine::Trace> trace_;
  checkpoint::ModelFiles files_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::shared_ptr<const text::ChatTemplate> chat_template_;
  std::vector<LoraPath> adapters_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<model::Transformer> model_;
  MemorySizes sizes_;
  std::unique_ptr<model::StepProfiler> profiler_;
  device::Buffer pool_;
  device::Buffer host_images_;
  int32_t context_length_ = 0;
  std::unique_ptr<engine::EngineThread> engine_;
  std::unique_ptr<engine::ModelExecutor> executor_;
  std::unique_ptr<adapter::ThreadedAdapterIo> io_;
  std::unique_ptr<server::Server> server_;
};

}  // namespace weft::cli
