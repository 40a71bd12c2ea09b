#include "cli/bench_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "base/file.h"
#include "bench/backend.h"
#include "bench/http_client.h"
#include "bench/run_benchmark.h"
#include "bench/workload.h"
#include "cli/bench_device_command.h"
#include "cli/given_flags.h"
#include "cli/load_flags.h"
#include "cli/number_range.h"

namespace weft::cli {
namespace {

using bench::AdapterDistribution;
using bench::BenchOptions;
using bench::DatasetName;

constexpr int kFailed = 1;
constexpr int kWrongFlags = 2;

/// The flags as parsed, before they are checked together.
struct BenchFlags {
  BenchOptions options;
  std::vector<std::string> headers;
  std::string workload;
};

void AddServerFlags(CLI::App& app, BenchFlags& flags) {
  BenchOptions& options = flags.options;
  std::vector<std::string> backends;
  for (const bench::Backend& backend : bench::AllBackends()) backends.emplace_back(backend.name);
  app.add_option("--backend", options.backend, "Whose API to speak")
      ->check(CLI::IsMember(backends))
      ->capture_default_str()
      ->group("Server");
  app.add_option("--base-url", options.base_url, "http://HOST:PORT, instead of --host and --port")
      ->group("Server");
  app.add_option("--host", options.host, "Where the server is")
      ->capture_default_str()
      ->group("Server");
  app.add_option("--port", options.port, "30000, or 8000 for vllm")
      ->check(NumberRange(1, 65535))
      ->group("Server");
  app.add_option("--model", options.model,
                 "The model's name; also the directory of its tokenizer. Default: what the server "
                 "lists first")
      ->group("Server");
  app.add_option("--served-model-name", options.served_model_name, "The name to send, if another")
      ->group("Server");
  app.add_option("--tokenizer", options.tokenizer,
                 "A model directory, tokenizer.json or .gguf, if not --model's")
      ->group("Server");
  app.add_option("--header", flags.headers, "More HTTP headers, as Name=Value")->group("Server");
}

void AddDatasetFlags(CLI::App& app, BenchOptions& options) {
  const std::map<std::string, DatasetName> names = {{"sharegpt", DatasetName::kShareGpt},
                                                    {"random", DatasetName::kRandom},
                                                    {"random-ids", DatasetName::kRandomIds}};
  const char* group = "Dataset";
  app.add_option("--dataset-name", options.dataset_name,
                 "sharegpt (default), random: real text cut to random lengths, or random-ids")
      ->transform(CLI::CheckedTransformer(names).description("{sharegpt,random,random-ids}"))
      ->group(group);
  app.add_option("--dataset-path", options.dataset_path, "ShareGPT's JSON")->group(group);
  AddRandomLengthFlags(app, options);
  app.add_option("--sharegpt-output-len", options.sharegpt_output_len, "Instead of the answers'")
      ->check(NumberRange(4, 1 << 30))
      ->group(group);
  app.add_option("--sharegpt-context-len", options.sharegpt_context_len, "Leave longer ones out")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--prompt-suffix", options.prompt_suffix, "Put after every ShareGPT prompt")
      ->group(group);
  app.add_flag("--tokenize-prompt", options.tokenize_prompt, "Send token ids, not text")
      ->group(group);
}

void AddLoadFlags(CLI::App& app, BenchOptions& options) {
  AddArrivalFlags(app, options);
  const char* group = "Load";
  app.add_option("--lora-name", options.lora_names, "Adapters to choose from; \"\" for none")
      ->group(group);
  app.add_flag("--disable-stream", options.disable_stream, "Ask for whole replies")->group(group);
  app.add_flag("--disable-ignore-eos", options.disable_ignore_eos, "Let answers end early")
      ->group(group);
  app.add_flag("--return-logprob", options.return_logprob, "Ask for log-probabilities")
      ->group(group);
  app.add_option("--extra-request-body", options.extra_request_body,
                 "A JSON object merged into every request")
      ->group(group);
  app.add_option(
         "--lora-request-body", options.lora_request_body,
         "A JSON object of adapter names, \"\" for the base, each with a JSON object that is "
         "merged into its requests: for servers that choose the adapter in another way")
      ->group(group);
}

void AddReportFlags(CLI::App& app, BenchFlags& flags) {
  BenchOptions& options = flags.options;
  app.add_option("--output-file", options.output_file,
                 "Append the results here as a line of JSON (default: named by backend, day and "
                 "lengths)")
      ->group("Report");
  app.add_flag("--output-details", options.output_details, "Each request's numbers in that line")
      ->group("Report");
  app.add_option("--tag", options.tag, "A name for the run in that line")->group("Report");
  app.add_flag("--disable-tqdm", options.disable_progress, "No progress bar")->group("Report");
  app.add_option("--workload", flags.workload,
                 "Take flags that are not given from this file (benchmarks/workloads/*.toml)")
      ->check(CLI::ExistingFile);
}

/// Gives each flag of the workload that the command line does not have.
Status ApplyWorkload(CLI::App& app, BenchFlags& flags) {
  if (flags.workload.empty()) return OkStatus();
  WEFT_ASSIGN_OR_RETURN(const bench::Workload workload, GiveWorkload(app, flags.workload));
  if (app.count("--lora-name") == 0) flags.options.lora_names = workload.AdapterNames();
  return OkStatus();
}

/// What no flag can be checked for alone.
Status CheckTogether(BenchFlags& flags) {
  BenchOptions& options = flags.options;
  const auto wrong = [](std::string message) {
    return Error{ErrorCode::kInvalidArgument, std::move(message)};
  };
  WEFT_RETURN_IF_ERROR(CheckArrivals(options, std::ssize(options.lora_names)));
  WEFT_ASSIGN_OR_RETURN(const bench::Backend backend, bench::FindBackend(options.backend));
  if (options.tokenize_prompt && backend.protocol != bench::Protocol::kSglangGenerate) {
    return wrong("--tokenize-prompt: only for --backend sglang, sglang-native or weft");
  }
  if (options.tokenize_prompt && options.dataset_name == DatasetName::kShareGpt) {
    return wrong("--tokenize-prompt: only for --dataset-name random or random-ids");
  }
  if (options.dataset_name == DatasetName::kShareGpt && options.dataset_path.empty()) {
    return wrong(
        "--dataset-name sharegpt needs --dataset-path FILE; random and random-ids need no file");
  }
  if (options.base_url) WEFT_RETURN_IF_ERROR(bench::ParseBaseUrl(*options.base_url));
  if (!options.extra_request_body.empty()) {
    WEFT_RETURN_IF_ERROR(bench::ParseJsonMembers(options.extra_request_body));
  }
  if (!options.lora_request_body.empty()) {
    WEFT_RETURN_IF_ERROR(bench::ParseAdapterMembers(options.lora_request_body));
  }
  for (const std::string& header : flags.headers) {
    const size_t equals = header.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return wrong(fmt::format("--header {}: must be Name=Value", header));
    }
    options.headers.emplace_back(header.substr(0, equals), header.substr(equals + 1));
  }
  return OkStatus();
}

int Run(CLI::App& app, BenchFlags& flags) {
  Status status = ApplyWorkload(app, flags);
  // --lora-name "" overrides a workload's adapters with none.
  std::erase_if(flags.options.lora_names, [](const auto& name) { return name.empty(); });
  if (status) status = CheckTogether(flags);
  if (!status) {
    fmt::print(stderr, "weft bench: {}\n", status.error().message);
    return kWrongFlags;
  }
  status = bench::RunBenchmark(flags.options);
  if (status) return 0;
  fmt::print(stderr, "weft bench: {}\n", status.error().message);
  return kFailed;
}

}  // namespace

void RegisterBenchCommand(CLI::App& weft, int& exit_code) {
  CLI::App* app =
      weft.add_subcommand("bench", "Measure a server under load, as SGLang's bench_serving does");
  const auto flags = std::make_shared<BenchFlags>();
  AddServerFlags(*app, *flags);
  AddDatasetFlags(*app, flags->options);
  AddLoadFlags(*app, flags->options);
  AddReportFlags(*app, *flags);
  const CLI::App* device = RegisterBenchDeviceCommand(*app, exit_code);
  app->callback([app, device, flags, &exit_code] {
    if (!device->parsed()) exit_code = Run(*app, *flags);
  });
}

}  // namespace weft::cli
