#include "cli/serving.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <thread>

#include "base/file.h"
#include "cli/adapter_limits.h"
#include "cli/choose_device.h"
#include "cli/engine_options.h"
#include "cli/model_text.h"
#include "cli/served_shape.h"
#include "cli/start_parts.h"
#include "ops/ceilings.h"

namespace weft::cli {
namespace {

/// Where what was measured of this machine is kept: $WEFT_CACHE, else ~/.cache/weft, else nowhere.
std::string MeasuredFolder() {
  if (const char* cache = std::getenv("WEFT_CACHE"); cache != nullptr) return cache;
  if (const char* home = std::getenv("HOME"); home != nullptr)
    return std::string(home) + "/.cache/weft";
  return {};
}

checkpoint::AdapterLimits LimitsOf(const ServeOptions& options) {
  return AdapterLimitsOf(options.max_lora_rank, options.lora_target_modules);
}

}  // namespace

Result<std::unique_ptr<Serving>> Serving::Create(const ServeOptions& options) {
  auto serving = std::unique_ptr<Serving>(new Serving(options));
  WEFT_ASSIGN_OR_RETURN(auto port,
                        server::BoundPort::Bind(options.host, static_cast<uint16_t>(options.port)));
  serving->port_.emplace(std::move(port));
  if (!options.trace.empty()) serving->trace_ = std::make_unique<engine::Trace>(serving->clock_);
  WEFT_RETURN_IF_ERROR(serving->Load());
  WEFT_RETURN_IF_ERROR(serving->StartProfile());
  serving->StartEngine();
  WEFT_RETURN_IF_ERROR(serving->RegisterAdapters());
  return serving;
}

Serving::~Serving() { Stop(Duration{}); }

/// Whatever takes long, side by side: each part is bound by one processor or by what the system
/// takes to give memory.
Status Serving::Load() {
  StartParts parts(clock_);
  WEFT_ASSIGN_OR_RETURN(device_, ChooseDevice(options_));
  if (options_.profile && device_->kind() != device::DeviceKind::kCpu)
    return MakeError(
        ErrorCode::kUnsupported,
        "--profile times steps on processors only; on a GPU use --trace, or --device cpu");
  WEFT_RETURN_IF_ERROR(parts.Run("files", [this] { return OpenFiles(); }));
  WEFT_RETURN_IF_ERROR(ChooseSizes());
  parts.Begin("text", [this] { return LoadText(); });
  parts.Begin("adapters", [this] { return CheckAdapters(); });
  parts.Begin("weights", [this] { return LoadModel(); });
  WEFT_RETURN_IF_ERROR(parts.Join());
  // Not beside the weights, which keep every processor busy: arenas go on in the background.
  parts.Begin("pool", [this] { return AllocatePool(); });
  parts.Begin("host memory", [this] { return AllocateHostImages(); });
  WEFT_RETURN_IF_ERROR(parts.Join());
  files_.tensors.reset();
  model_->BindPages(pool_.data(), sizes_.page_count);
  WEFT_RETURN_IF_ERROR(parts.Run("warm-up", [this] {
    model_->WarmUp();
    return OkStatus();
  }));
  spdlog::info("{}: {} of weights on {}", files_.config.name, FormatBytes(model_->weight_bytes()),
               device_->name());
  const int64_t tokens = static_cast<int64_t>(sizes_.page_count - 1) * sizes_.kv.tokens_per_page;
  spdlog::info(
      "pool: {} pages of {} ({} tokens of KV without adapters); host memory for adapters: {}",
      sizes_.page_count - 1, FormatBytes(sizes_.kv.page_bytes), tokens,
      FormatBytes(host_images_.size()));
  spdlog::info("seconds of the start: {}", parts.Times());
  return OkStatus();
}

/// The model's headers.
Status Serving::OpenFiles() {
  FileSystem& files = LocalFiles();
  WEFT_ASSIGN_OR_RETURN(
      const std::string path,
      checkpoint::ResolveModelPath(files, options_.model_path, checkpoint::HuggingFaceCacheRoot()));
  const bool is_gguf = path.ends_with(".gguf");
  if ((options_.load_format == "gguf" && !is_gguf) ||
      (options_.load_format == "safetensors" && is_gguf)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--load-format {} does not fit '{}'; leave it out, or name other files",
                     options_.load_format, path);
  }
  auto opened = options_.load_format == "dummy" ? checkpoint::OpenModelConfigOnly(files, path)
                                                : checkpoint::OpenModel(files, path);
  if (!opened.ok()) return opened.error();
  files_ = std::move(opened).value();
  for (const std::string& note : files_.config.notes) spdlog::warn("{}", note);
  WEFT_ASSIGN_OR_RETURN(context_length_, ContextLengthOf(options_, files_.config));
  return OkStatus();
}

/// The tokenizer and the chat template.
Status Serving::LoadText() {
  WEFT_ASSIGN_OR_RETURN(ModelText text, LoadModelText(LocalFiles(), files_, options_.tokenizer_path,
                                                      options_.chat_template));
  tokenizer_ = std::move(text.tokenizer);
  chat_template_ = std::move(text.chat_template);
  if (!text.warning.empty()) spdlog::warn("{}", text.warning);
  return OkStatus();
}

/// A bad adapter on the command line is a bad command line: it is said now, not at the first
/// request.
Status Serving::CheckAdapters() {
  WEFT_ASSIGN_OR_RETURN(adapters_, options_.LoraPaths());
  for (LoraPath& entry : adapters_) {
    WEFT_RETURN_IF_ERROR(adapter::CheckAdapterName(entry.name));
    auto path =
        checkpoint::ResolveModelPath(LocalFiles(), entry.path, checkpoint::HuggingFaceCacheRoot());
    if (!path.ok()) return path.error().WithContext("--lora-paths " + entry.name);
    entry.path = std::move(path).value();
    auto opened =
        checkpoint::OpenAdapter(LocalFiles(), entry.path, files_.config, LimitsOf(options_));
    if (!opened.ok()) return opened.error().WithContext("--lora-paths " + entry.name);
  }
  return OkStatus();
}

Status Serving::LoadModel() {
  model::TransformerOptions options;
  options.dtype = ServedDType(options_.dtype);
  options.threads = options_.threads > 0 ? options_.threads
                                         : static_cast<int>(std::thread::hardware_concurrency());
  options.max_rows = options_.chunked_prefill_size + options_.max_running_requests;
  options.max_sequences = options_.max_running_requests;
  options.max_logits_rows = options_.max_running_requests;
  options.min_page_bytes = sizes_.kv.page_bytes;
  // Tiles are rounded up, so the operators' room is too.
  options.max_lora_rank =
      (options_.max_lora_rank + ops::kRankTile - 1) / ops::kRankTile * ops::kRankTile;
  options.max_adapters = options_.max_loras_per_batch;
  options.deterministic = options_.deterministic;
  options.measured_folder = MeasuredFolder();
  options.seed = options_.random_seed;
  auto model = model::Transformer::Create(files_.config, files_.tensors.get(), *device_, options);
  if (!model.ok()) return model.error();
  model_ = std::move(model).value();
  return OkStatus();
}

/// With --profile: measures the machine's ceilings and times the model from now on.
Status Serving::StartProfile() {
  if (!options_.profile) return OkStatus();
  const int threads = options_.threads > 0 ? options_.threads
                                           : static_cast<int>(std::thread::hardware_concurrency());
  WEFT_ASSIGN_OR_RETURN(
      device::Ceilings ceilings,
      ops::MeasureCeilings(*device_, threads, clock_, {5, std::chrono::milliseconds(20)}));
  profiler_ = std::make_unique<model::StepProfiler>(files_.config, ServedDType(options_.dtype),
                                                    std::move(ceilings), clock_);
  model_->SetProfiler(*profiler_);
  return OkStatus();
}

/// How many pages the pool and the host's images have.
Status Serving::ChooseSizes() {
  MachineMemory memory;
  memory.is_gpu = device_->kind() == device::DeviceKind::kCuda;
  memory.device_free = device_->free_memory();
  memory.device_total = device_->total_memory();
  memory.host_free = device_->free_host_memory();
  memory.host_total = device_->total_host_memory();
  WEFT_ASSIGN_OR_RETURN(sizes_,
                        ChooseMemorySizes(options_, files_.config, context_length_, memory));
  return OkStatus();
}

/// All memory of size, once (P2).
Status Serving::AllocatePool() {
  auto pool = device_->ReserveDevice(sizes_.page_count * sizes_.kv.page_bytes);
  if (!pool.ok()) return pool.error().WithContext("--kv-memory");
  pool_ = std::move(pool).value();
  return OkStatus();
}

Status Serving::AllocateHostImages() {
  auto host = device_->ReserveHost(sizes_.host_page_count * sizes_.kv.page_bytes);
  if (!host.ok()) return host.error().WithContext("--lora-host-memory");
  host_images_ = std::move(host).value();
  return OkStatus();
}

engine::EngineOptions Serving::MakeEngineOptions() const {
  engine::EngineOptions options = EngineOptionsOf(options_, sizes_, context_length_,
                                                  device_->kind() == device::DeviceKind::kCuda);
  options.adapters.device_arena = pool_.data();
  options.adapters.host_arena = host_images_.data();
  return options;
}

void Serving::StartEngine() {
  engine_ = std::make_unique<engine::EngineThread>(options_.max_queued_requests, clock_,
                                                   trace_.get(), profiler_.get());
  engine::EngineThread& inbox = *engine_;
  executor_ = std::make_unique<engine::ModelExecutor>(
      *model_, *device_, clock_, [&inbox](engine::StepDone done) { inbox.Post(std::move(done)); },
      profiler_.get());
  adapter::ThreadedAdapterIoOptions io;
  io.page_bytes = sizes_.kv.page_bytes;
  io.limits = LimitsOf(options_);
  io.loader.bytes_per_second =
      *options_.Size(options_.lora_read_bandwidth, "--lora-read-bandwidth");
  io.copy_bytes_per_second = *options_.Size(options_.lora_copy_bandwidth, "--lora-copy-bandwidth");
  const adapter::AdapterIoReplies replies = {
      [&inbox](adapter::AdapterOpened message) { inbox.Post(std::move(message)); },
      [&inbox](adapter::AdapterRead message) { inbox.Post(std::move(message)); },
      [&inbox](adapter::AdapterCopied message) { inbox.Post(std::move(message)); }};
  adapter::LoadSpanSink spans;
  if (trace_ != nullptr) spans = [this](const adapter::LoadSpan& span) { RecordSpan(span); };
  io_ = std::make_unique<adapter::ThreadedAdapterIo>(LocalFiles(), files_.config,
                                                     model_->tile_packer(), *device_, io, clock_,
                                                     replies, std::move(spans));
  engine_->Start([this] {
    return std::make_unique<engine::Engine>(MakeEngineOptions(), files_.config, *executor_, *io_,
                                            clock_, trace_.get());
  });
}

void Serving::RecordSpan(const adapter::LoadSpan& span) {
  const bool copies = span.kind == adapter::LoadSpan::Kind::kCopy;
  const char* name = copies                                        ? "copy"
                     : span.kind == adapter::LoadSpan::Kind::kRead ? "read"
                                                                   : "convert";
  trace_->Span(engine::Trace::Group::kEngine,
               copies ? std::string("copy") : fmt::format("loader {}", span.thread), name,
               span.begin, span.end,
               fmt::format(R"({{"version":{},"bytes":{}}})", span.version.value(), span.bytes));
}

Status Serving::RegisterAdapters() {
  for (const LoraPath& entry : adapters_) {
    std::promise<Status> registered;
    engine_->Post(engine::LoadAdapterMessage{
        {entry.name, entry.path, entry.pinned, false},
        true,
        [&registered](const Result<engine::AdapterInfo>& result) {
          registered.set_value(result.ok() ? OkStatus() : Status(result.error()));
        }});
    WEFT_RETURN_IF_ERROR(registered.get_future().get());
  }
  if (!adapters_.empty()) spdlog::info("{} adapters registered", adapters_.size());
  return OkStatus();
}

Status Serving::StartServer(std::vector<std::pair<std::string, std::string>> flags) {
  server::ServerOptions options;
  options.api_key = options_.api_key;
  options.admin_api_key = options_.admin_api_key;
  options.served_model_name =
      options_.served_model_name.empty() ? files_.config.name : options_.served_model_name;
  options.model_path = options_.model_path;
  options.tokenizer_path =
      options_.tokenizer_path.empty() ? options_.model_path : options_.tokenizer_path;
  options.max_body_size = *options_.Size(options_.max_body_size, "--max-body-size");
  options.io_threads = options_.io_threads;
  options.flags = std::move(flags);
  engine::ServiceLimits limits;
  limits.context_length = context_length_;
  auto created = server::Server::Create(std::move(options), std::move(*port_), *engine_, limits,
                                        tokenizer_, chat_template_);
  if (!created.ok()) return created.error();
  server_ = std::move(created).value();
  return server_->Start();
}

std::string Serving::Address() const {
  return fmt::format("http://{}:{}", options_.host, server_->port());
}

void Serving::Stop(Duration limit) {
  // Before the server waits: loads that are pending are answered, and new requests refused, at
  // once.
  if (engine_) engine_->Post(engine::DrainMessage{});
  if (server_) server_->Stop(std::chrono::duration_cast<std::chrono::milliseconds>(limit));
  if (engine_) engine_->Stop(Duration{});
  if (io_) io_->Stop();
  if (trace_) WriteTrace();
  if (profiler_ && engine_) {
    fmt::print("{}", engine_->Profile(engine::Service::ProfileForm::kText));
    std::fflush(stdout);
  }
  server_.reset();
  executor_.reset();
  io_.reset();
  engine_.reset();
  trace_.reset();
}

void Serving::AbortAll() { engine_->AbortByClientId(""); }

void Serving::WriteTrace() const {
  std::FILE* file = std::fopen(options_.trace.c_str(), "w");
  const std::string json = trace_->Json();
  const bool written =
      file != nullptr && std::fwrite(json.data(), 1, json.size(), file) == json.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) {
    spdlog::info("trace written to '{}'; open it at ui.perfetto.dev", options_.trace);
  } else {
    spdlog::error("the trace could not be written to '{}'", options_.trace);
  }
}

}  // namespace weft::cli
