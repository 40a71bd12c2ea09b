#include "cli/simulate_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapter/adapter_cache.h"
#include "base/file.h"
#include "bench/datasets.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "checkpoint/model_files.h"
#include "cli/engine_options.h"
#include "cli/given_flags.h"
#include "cli/load_flags.h"
#include "cli/make_model.h"
#include "cli/number_range.h"
#include "cli/serve_options.h"
#include "cli/served_shape.h"
#include "sim/capacity_run.h"
#include "sim/hardware.h"

namespace weft::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongFlags = 2;

struct SimulateFlags {
  ServeOptions serve;
  bench::BenchOptions load;
  std::string workload;
  std::string hardware;
  std::string like;
  int64_t adapters = 0;
  int64_t rank = 16;
  std::string adapter_dtype = "float32";
  int runs = 1;
};

void AddFlags(CLI::App& app, SimulateFlags& flags) {
  const char* group = "Simulation";
  app.add_option("--hardware", flags.hardware,
                 fmt::format("The machine: {}, or a TOML file that describes one "
                             "(docs/simulate.md)",
                             fmt::join(sim::KnownHardwareNames(), ", ")))
      ->required()
      ->group(group);
  app.add_option("--like", flags.like, "A model's shape by name, instead of --model-path")
      ->check(CLI::IsMember(KnownModelNames()))
      ->group(group);
  app.add_option("--adapters", flags.adapters, "How many there are, instead of the workload's")
      ->check(NumberRange(0, 1'000'000))
      ->group(group);
  app.add_option("--rank", flags.rank, "Of --adapters")
      ->check(NumberRange(1, 4096))
      ->capture_default_str()
      ->group(group);
  app.add_option("--adapter-dtype", flags.adapter_dtype, "Of the files of --adapters")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--runs", flags.runs, "The load so many times on one server: the first is cold")
      ->check(NumberRange(1, 100))
      ->capture_default_str()
      ->group(group);
  app.add_option("--workload", flags.workload,
                 "Take flags that are not given, the model and the adapters from this file "
                 "(benchmarks/workloads/*.toml)")
      ->check(CLI::ExistingFile)
      ->group(group);
  const std::map<std::string, bench::DatasetName> datasets = {
      {"random", bench::DatasetName::kRandom}, {"random-ids", bench::DatasetName::kRandomIds}};
  app.add_option("--dataset-name", flags.load.dataset_name,
                 "Only lengths are drawn: both are the same")
      ->transform(CLI::CheckedTransformer(datasets).description("{random,random-ids}"))
      ->group("Dataset");
  app.add_option("--output-file", flags.load.output_file,
                 "Append each run here as a line of JSON, in the form of weft bench")
      ->group(group);
  app.add_option("--tag", flags.load.tag, "A name for the runs in those lines")->group(group);
  AddRandomLengthFlags(app, flags.load);
  AddArrivalFlags(app, flags.load);
  AddSimulatedServeFlags(app, flags.serve);
}

/// The adapters of --adapters, or those of the workload.
std::vector<bench::AdapterGroup> AdaptersOf(const CLI::App& app, const SimulateFlags& flags,
                                            const bench::Workload& workload) {
  if (app.count("--adapters") == 0) return workload.adapters;
  if (flags.adapters == 0) return {};
  return {{"adapter", flags.adapters, flags.rank, flags.adapter_dtype}};
}

Result<bench::Workload> ApplyWorkload(CLI::App& app, const SimulateFlags& flags) {
  if (flags.workload.empty()) return bench::Workload{};
  WEFT_ASSIGN_OR_RETURN(bench::Workload workload, GiveWorkload(app, flags.workload));
  WEFT_RETURN_IF_ERROR(GiveFlags(app, workload.serve, "workload", flags.workload + ": [serve] "));
  return workload;
}

Result<sim::Hardware> FindHardware(const std::string& given) {
  if (!given.ends_with(".toml")) {
    auto known = sim::KnownHardware(given);
    if (!known.ok()) return known.error().WithContext("--hardware");
    return known;
  }
  WEFT_ASSIGN_OR_RETURN(const std::string toml, LocalFiles().ReadText(given));
  return sim::ParseHardware(toml, given);
}

Result<ModelConfig> FindModel(const SimulateFlags& flags, const bench::Workload& workload) {
  if (!flags.serve.model_path.empty()) {
    WEFT_ASSIGN_OR_RETURN(const std::string path,
                          checkpoint::ResolveModelPath(LocalFiles(), flags.serve.model_path,
                                                       checkpoint::HuggingFaceCacheRoot()));
    WEFT_ASSIGN_OR_RETURN(const checkpoint::ModelFiles files,
                          checkpoint::OpenModelConfigOnly(LocalFiles(), path));
    return files.config;
  }
  const std::string like = flags.like.empty() ? workload.model_like.value_or("") : flags.like;
  if (like.empty()) {
    return Error{
        ErrorCode::kInvalidArgument,
        "which model: name one with --model-path or --like, or take a --workload that does"};
  }
  WEFT_ASSIGN_OR_RETURN(ModelConfig config, KnownModel(like));
  config.name = like;
  return config;
}

/// Prompts are drawn as ids, so that nothing but the vocabulary's size is wanted.
class VocabularySize final : public bench::PromptTokenizer {
 public:
  explicit VocabularySize(int32_t size) : size_(size) {}
  Result<std::vector<TokenId>> Encode(std::string_view /*text*/, bool /*special*/) const override {
    return Error{ErrorCode::kUnsupported, "only lengths are simulated"};
  }
  std::string Decode(std::span<const TokenId> /*ids*/) const override { return {}; }
  int32_t vocabulary_size() const override { return size_; }
  int32_t num_special_tokens_to_add() const override { return 0; }

 private:
  const int32_t size_;
};

void PlanLoad(const SimulateFlags& flags, const std::vector<bench::AdapterGroup>& groups,
              sim::CapacityScenario& scenario) {
  const Bytes image_element = SizeOf(scenario.dtype);
  for (const bench::AdapterGroup& group : groups) {
    const double file_element = group.dtype == "float32" ? 4 : 2;
    for (int64_t i = 0; i < group.count; ++i) {
      scenario.adapters.push_back({fmt::format("{}-{}", group.name, i),
                                   static_cast<int32_t>(group.rank),
                                   file_element / static_cast<double>(image_element)});
    }
  }
  const bench::BenchOptions& load = flags.load;
  bench::NumpyRandom numpy(static_cast<uint32_t>(load.seed));
  bench::PythonRandom python(load.seed);
  const VocabularySize vocabulary(scenario.model.vocabulary);
  std::vector<bench::DatasetRow> rows = bench::SampleRandomIds(
      load.random, load.num_prompts, /*as_ids=*/true, vocabulary, {numpy, python});
  const bench::ArrivalOptions arrival_options = {load.request_rate,
                                                 static_cast<int>(scenario.adapters.size()),
                                                 load.lora_distribution, load.lora_zipf_alpha};
  const std::vector<bench::Arrival> arrivals =
      bench::DrawArrivals(arrival_options, load.num_prompts, numpy, python);
  for (size_t i = 0; i < rows.size(); ++i) {
    scenario.requests.push_back({arrivals[i].at, arrivals[i].adapter, std::move(rows[i].ids),
                                 static_cast<int32_t>(rows[i].output_tokens)});
  }
  scenario.max_concurrency = load.max_concurrency;
  scenario.warmup_requests = load.warmup_requests;
  scenario.flush_cache = load.flush_cache;
  scenario.runs = flags.runs;
}

bench::RequestOutcome OutcomeOf(const sim::PlannedRequest& request,
                                const sim::PlannedReply& reply) {
  bench::RequestOutcome outcome;
  outcome.success = reply.finish && reply.finish->type == engine::FinishType::kLength;
  if (!outcome.success && reply.finish) outcome.error = reply.finish->error.message;
  if (!outcome.success || reply.tokens.empty()) return outcome;
  outcome.prompt_tokens = std::ssize(request.prompt);
  outcome.output_tokens = std::ssize(reply.tokens);
  outcome.start = Seconds(reply.sent.time_since_epoch());
  outcome.ttft = Seconds(reply.tokens.front() - reply.sent);
  outcome.latency = Seconds(reply.tokens.back() - reply.sent);
  for (size_t i = 1; i < reply.tokens.size(); ++i)
    outcome.itl.push_back(Seconds(reply.tokens[i] - reply.tokens[i - 1]));
  return outcome;
}

/// What the server's own counters would say of the run.
std::string ServerTable(const engine::EngineStats& before, const engine::EngineStats& after) {
  const auto row = [](std::string_view name, const std::string& value) {
    return fmt::format("{:<40} {:<10}\n", name, value);
  };
  std::string table;
  table += row("Adapters loaded to the device:",
               fmt::format("{}", after.LoadsOf("ok") - before.LoadsOf("ok")));
  table += row("Adapters evicted from it:",
               fmt::format("{}", after.adapter_evictions_total - before.adapter_evictions_total));
  table += row("Copied to it:", FormatBytes(static_cast<Bytes>(after.adapter_copied_bytes_total -
                                                               before.adapter_copied_bytes_total)));
  table += row("Sequences paused for a turn:",
               fmt::format("{}", after.pauses_total - before.pauses_total));
  table += row("Sequences suspended for KV:",
               fmt::format("{}", after.suspensions_total - before.suspensions_total));
  return table + std::string(50, '=') + "\n";
}

Status Print(const SimulateFlags& flags, const sim::CapacityScenario& scenario,
             const sim::CapacityOutcome& outcome) {
  std::vector<std::string> errors;
  for (const sim::CapacityOutcome::Run& run : outcome.runs) {
    std::vector<bench::RequestOutcome> replies;
    for (size_t i = 0; i < run.replies.size(); ++i) {
      replies.push_back(OutcomeOf(scenario.requests[i], run.replies[i]));
      if (!replies.back().success) errors.push_back(replies.back().error);
    }
    bench::Report report;
    report.metrics = bench::CalculateMetrics(replies, Seconds(run.ended - run.began), 0);
    report.metrics.total_output_retokenized = report.metrics.total_output;
    fmt::print("{}{}", bench::RenderTable(flags.load, report),
               ServerTable(run.stats_before, run.stats));
    if (flags.load.output_file) {
      WEFT_RETURN_IF_ERROR(bench::AppendLine(*flags.load.output_file,
                                             bench::RenderJsonLine(flags.load, report, replies)));
    }
  }
  if (errors.empty()) return OkStatus();
  return MakeError(ErrorCode::kInvalidArgument, "{} of {} requests were refused; the first: {}",
                   errors.size(), outcome.runs.size() * scenario.requests.size(), errors.front());
}

/// What the server itself would refuse of them.
Status CheckAdapters(const SimulateFlags& flags, const std::vector<bench::AdapterGroup>& groups) {
  std::set<std::string> names;
  int64_t count = 0;
  for (const bench::AdapterGroup& group : groups) {
    WEFT_RETURN_IF_ERROR(adapter::CheckAdapterName(group.name + "-0"));
    if (!names.insert(group.name).second) {
      return MakeError(ErrorCode::kInvalidArgument, "two groups of adapters are named '{}'",
                       group.name);
    }
    if (group.rank > flags.serve.max_lora_rank) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the rank {} of '{}' is more than --max-lora-rank {}", group.rank,
                       group.name, flags.serve.max_lora_rank);
    }
    count += group.count;
  }
  const auto& modules = flags.serve.lora_target_modules;
  if (!modules.empty() && modules != std::vector<std::string>{"all"}) {
    return Error{ErrorCode::kInvalidArgument,
                 "--lora-target-modules: simulated adapters have all projections; leave it out"};
  }
  return CheckArrivals(flags.load, count);
}

/// Flags that are wrong exit with 2, as everywhere; a load that the server refuses with 1.
Result<sim::CapacityScenario> PlanScenario(CLI::App& app, SimulateFlags& flags) {
  WEFT_RETURN_IF_ERROR(ApplyConfigFile(app, flags.serve));
  WEFT_ASSIGN_OR_RETURN(const bench::Workload workload, ApplyWorkload(app, flags));
  sim::CapacityScenario scenario;
  WEFT_ASSIGN_OR_RETURN(scenario.model, FindModel(flags, workload));
  WEFT_ASSIGN_OR_RETURN(scenario.hardware, FindHardware(flags.hardware));
  if (flags.serve.model_path.empty()) flags.serve.model_path = scenario.model.name;
  WEFT_RETURN_IF_ERROR(CheckServeOptions(flags.serve));
  WEFT_ASSIGN_OR_RETURN(const int32_t context, ContextLengthOf(flags.serve, scenario.model));
  const sim::Hardware& hardware = scenario.hardware;
  const MachineMemory memory = {hardware.is_gpu, hardware.device_memory, hardware.device_memory,
                                hardware.host_memory, hardware.host_memory};
  WEFT_ASSIGN_OR_RETURN(const MemorySizes sizes,
                        ChooseMemorySizes(flags.serve, scenario.model, context, memory));
  scenario.dtype = ServedDType(flags.serve.dtype);
  const Bytes weights = PlainWeightBytes(scenario.model, scenario.dtype);
  const Bytes pool = sizes.page_count * sizes.kv.page_bytes;
  if (weights + pool > hardware.device_memory) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the weights take {} and the pool {}, but the machine has {}; give less "
                     "--kv-memory",
                     FormatBytes(weights), FormatBytes(pool), FormatBytes(hardware.device_memory));
  }
  scenario.engine = EngineOptionsOf(flags.serve, sizes, context, hardware.is_gpu);
  scenario.read_bytes_per_second =
      *flags.serve.Size(flags.serve.lora_read_bandwidth, "--lora-read-bandwidth");
  scenario.copy_bytes_per_second =
      *flags.serve.Size(flags.serve.lora_copy_bandwidth, "--lora-copy-bandwidth");
  const std::vector<bench::AdapterGroup> adapters = AdaptersOf(app, flags, workload);
  WEFT_RETURN_IF_ERROR(CheckAdapters(flags, adapters));
  PlanLoad(flags, adapters, scenario);
  fmt::print("{} on {}: a pool of {} pages of {}, images of {} adapters in {}\n",
             scenario.model.name, hardware.name, sizes.page_count - 1,
             FormatBytes(sizes.kv.page_bytes), scenario.adapters.size(),
             FormatBytes((sizes.host_page_count - 1) * sizes.kv.page_bytes));
  return scenario;
}

int Run(CLI::App& app, SimulateFlags& flags) {
  const auto fail = [](const Error& error, int code) {
    fmt::print(stderr, "weft simulate: {}\n", error.message);
    return code;
  };
  const auto scenario = PlanScenario(app, flags);
  if (!scenario.ok()) return fail(scenario.error(), kWrongFlags);
  const Status printed = Print(flags, *scenario, sim::RunCapacity(*scenario));
  return printed.ok() ? 0 : fail(printed.error(), kFailed);
}

}  // namespace

void RegisterSimulateCommand(CLI::App& weft, int& exit_code) {
  CLI::App* app = weft.add_subcommand(
      "simulate", "Predict what a server would do under a load, on a machine that is not there");
  const auto flags = std::make_shared<SimulateFlags>();
  flags->load.backend = "weft, simulated";
  flags->load.dataset_name = bench::DatasetName::kRandomIds;
  AddFlags(*app, *flags);
  app->callback([app, flags, &exit_code] { exit_code = Run(*app, *flags); });
}

}  // namespace weft::cli
