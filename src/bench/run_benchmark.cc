#include "bench/run_benchmark.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <simdjson.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "bench/backend.h"
#include "bench/http_client.h"
#include "bench/progress_bar.h"
#include "bench/report.h"

namespace weft::bench {
namespace {

constexpr int64_t kWarmupOutputTokens = 32;
constexpr Duration kPauseAfterWarmup = std::chrono::seconds(1);
constexpr Duration kSmallCallTimeout = std::chrono::seconds(30);

/// What the run needs to know of the server and the model.
struct Target {
  Backend backend;
  Endpoint endpoint;
  HttpHeaders headers;
  std::string model;  ///< As requests name it.
  std::string tokenizer_path;
};

struct ServedModel {
  std::string id;
  std::string root;
};

/// OPENAI_API_KEY as a bearer token, otherwise API_KEY as it is.
HttpHeaders RequestHeaders(const BenchOptions& options) {
  HttpHeaders headers;
  if (const char* key = std::getenv("OPENAI_API_KEY"); key != nullptr && *key != '\0') {
    headers.emplace_back("Authorization", fmt::format("Bearer {}", key));
  } else if (const char* other = std::getenv("API_KEY"); other != nullptr && *other != '\0') {
    headers.emplace_back("Authorization", other);
  }
  headers.insert(headers.end(), options.headers.begin(), options.headers.end());
  return headers;
}

Result<ServedModel> AskForModel(const Endpoint& endpoint, const HttpHeaders& headers) {
  auto reply = Get(endpoint, "/v1/models", headers, kSmallCallTimeout);
  if (!reply) {
    return MakeError(reply.error().code,
                     "{}; start one with `weft serve`, or name it with --base-url",
                     reply.error().message);
  }
  simdjson::dom::parser parser;
  simdjson::dom::element first;
  std::string_view id;
  const simdjson::padded_string json(reply->body);
  if (reply->status != 200 || parser.parse(json)["data"].at(0).get(first) != simdjson::SUCCESS ||
      first["id"].get_string().get(id) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kNotFound, "{} lists no model (status {}); name it with --model",
                     endpoint.Url("/v1/models"), reply->status);
  }
  std::string_view root;
  if (first["root"].get_string().get(root) != simdjson::SUCCESS) root = {};
  return ServedModel{std::string(id), std::string(root)};
}

Result<Target> FindTarget(const BenchOptions& options) {
  Target target;
  WEFT_ASSIGN_OR_RETURN(target.backend, FindBackend(options.backend));
  const int port = options.port.value_or(target.backend.default_port);
  WEFT_ASSIGN_OR_RETURN(
      target.endpoint,
      ParseBaseUrl(options.base_url.value_or(fmt::format("http://{}:{}", options.host, port))));
  target.headers = RequestHeaders(options);
  if (options.model) {
    target.model = *options.model;
    target.tokenizer_path = *options.model;
  } else {
    WEFT_ASSIGN_OR_RETURN(const ServedModel served, AskForModel(target.endpoint, target.headers));
    target.model = served.id;
    target.tokenizer_path = LocalFiles().Stat(served.root).ok() ? served.root : served.id;
  }
  if (options.tokenizer) target.tokenizer_path = *options.tokenizer;
  if (options.served_model_name) target.model = *options.served_model_name;
  return target;
}

Result<Conversations> ReadConversations(const std::string& path) {
  constexpr Bytes kMaxDataset = 4 * kGiB;
  WEFT_ASSIGN_OR_RETURN(std::string json, LocalFiles().ReadText(path, kMaxDataset));
  return ParseShareGpt(std::move(json), path);
}

Result<std::vector<DatasetRow>> SampleDataset(const BenchOptions& options,
                                              const PromptTokenizer& tokenizer,
                                              DatasetRandom random) {
  if (options.dataset_name == DatasetName::kRandomIds) {
    return SampleRandomIds(options.random, options.num_prompts, options.tokenize_prompt, tokenizer,
                           random);
  }
  std::optional<Conversations> conversations;
  if (!options.dataset_path.empty()) {
    WEFT_ASSIGN_OR_RETURN(conversations, ReadConversations(options.dataset_path));
  }
  if (options.dataset_name == DatasetName::kRandom) {
    return SampleRandomText(options.random, options.num_prompts, options.tokenize_prompt,
                            conversations, tokenizer, random);
  }
  if (!conversations) {
    return Error{
        ErrorCode::kInvalidArgument,
        "--dataset-name sharegpt needs --dataset-path FILE (ShareGPT's JSON); `random` and "
        "`random-ids` need no file"};
  }
  const ShareGptOptions share_gpt = {options.sharegpt_output_len, options.sharegpt_context_len,
                                     options.prompt_suffix};
  return SampleShareGpt(std::move(*conversations), options.num_prompts, share_gpt, tokenizer,
                        random.python);
}

Result<RequestSettings> MakeSettings(const BenchOptions& options, const Target& target) {
  RequestSettings settings;
  settings.model = target.model;
  settings.stream = !options.disable_stream;
  settings.ignore_eos = !options.disable_ignore_eos;
  settings.return_logprob = options.return_logprob;
  if (!options.extra_request_body.empty()) {
    WEFT_ASSIGN_OR_RETURN(settings.extra, ParseJsonMembers(options.extra_request_body));
  }
  if (!options.lora_request_body.empty()) {
    WEFT_ASSIGN_OR_RETURN(settings.adapter_extra, ParseAdapterMembers(options.lora_request_body));
  }
  return settings;
}

Load EmptyLoad(const Target& target) {
  Load load;
  load.endpoint = target.endpoint;
  load.path = target.backend.path;
  load.headers = target.headers;
  load.protocol = target.backend.protocol;
  return load;
}

Status WarmUp(const BenchOptions& options, const Target& target, const RequestSettings& settings,
              const DatasetRow& row) {
  fmt::print("Starting warmup with {} sequences...\n", options.warmup_requests);
  Load load = EmptyLoad(target);
  std::optional<std::string> adapter;
  if (!options.lora_names.empty()) adapter = options.lora_names.front();
  TimedRequest request;
  request.prompt_tokens = row.prompt_tokens;
  request.output_tokens = std::min(row.output_tokens, kWarmupOutputTokens);
  request.body = BuildRequestBody(load.protocol, settings, row, request.output_tokens, adapter);
  load.requests.assign(static_cast<size_t>(options.warmup_requests), request);
  const LoadResult result = RunLoad(load, SteadyClock(), [](size_t) {});
  const auto succeeded = [](const RequestOutcome& outcome) { return outcome.success; };
  if (!result.outcomes.empty() && std::ranges::none_of(result.outcomes, succeeded)) {
    return MakeError(ErrorCode::kUnavailable, "the warm-up request failed: {}",
                     result.outcomes.front().error);
  }
  fmt::print("Warmup completed with {} sequences. Starting main benchmark run...\n",
             options.warmup_requests);
  return OkStatus();
}

Status FlushCache(const Target& target) {
  WEFT_ASSIGN_OR_RETURN(const HttpReply reply, Post(target.endpoint, "/flush_cache", target.headers,
                                                    "", kSmallCallTimeout));
  if (reply.status != 200) {
    return MakeError(
        ErrorCode::kUnsupported,
        "--flush-cache: {} answered with status {}; the run would reuse cached prompts",
        target.endpoint.Url("/flush_cache"), reply.status);
  }
  return OkStatus();
}

Load MakeLoad(const BenchOptions& options, const Target& target, const RequestSettings& settings,
              const std::vector<DatasetRow>& rows, const std::vector<Arrival>& arrivals) {
  Load load = EmptyLoad(target);
  load.max_concurrency = options.max_concurrency;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::optional<std::string> adapter;
    if (arrivals[i].adapter != kNoAdapter) {
      adapter = options.lora_names[static_cast<size_t>(arrivals[i].adapter)];
    }
    TimedRequest request;
    request.at = arrivals[i].at;
    request.prompt_tokens = rows[i].prompt_tokens;
    request.output_tokens = rows[i].output_tokens;
    request.body =
        BuildRequestBody(load.protocol, settings, rows[i], rows[i].output_tokens, adapter);
    load.requests.push_back(std::move(request));
  }
  return load;
}

/// GET /get_server_info; a server without it is no error.
void AskServerInfo(const Target& target, Report& report) {
  const auto reply = Get(target.endpoint, "/get_server_info", target.headers, kSmallCallTimeout);
  if (!reply || reply->status != 200) return;
  simdjson::dom::parser parser;
  simdjson::dom::element info;
  const simdjson::padded_string json(reply->body);
  if (parser.parse(json).get(info) != simdjson::SUCCESS) return;
  report.server_info = simdjson::minify(info);
  double accept_length = 0;
  if (target.backend.has_server_info &&
      info["internal_states"].at(0)["avg_spec_accept_length"].get_double().get(accept_length) ==
          simdjson::SUCCESS &&
      accept_length > 0) {
    report.accept_length = accept_length;
  }
}

Result<int64_t> CountRetokenized(const PromptTokenizer& tokenizer,
                                 const std::vector<RequestOutcome>& outcomes) {
  int64_t total = 0;
  for (const RequestOutcome& outcome : outcomes) {
    if (!outcome.success) continue;
    WEFT_ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode(outcome.generated_text, false));
    total += static_cast<int64_t>(ids.size());
  }
  return total;
}

Status ReportFailures(const std::vector<RequestOutcome>& outcomes) {
  size_t failed = 0;
  std::string first;
  for (const RequestOutcome& outcome : outcomes) {
    if (outcome.success) continue;
    if (failed++ == 0) first = outcome.error;
  }
  if (failed == 0) return OkStatus();
  const std::string message =
      fmt::format("{} of {} requests failed; the first: {}", failed, outcomes.size(), first);
  if (failed == outcomes.size()) return Error{ErrorCode::kUnavailable, message};
  fmt::print(stderr, "weft bench: {}\n", message);
  return OkStatus();
}

/// Each request is a connection: allow as many as bench_serving does.
void AllowManyConnections() {
  constexpr rlim_t kConnections = 65535;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kConnections) return;
  limit.rlim_cur = std::min(kConnections, limit.rlim_max);
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int64_t SumTokens(const std::vector<DatasetRow>& rows, int64_t DatasetRow::*tokens) {
  int64_t sum = 0;
  for (const DatasetRow& row : rows) sum += row.*tokens;
  return sum;
}

LoadResult RunWithProgress(const BenchOptions& options, const Load& load) {
  const SteadyClock clock;
  ProgressBar bar(load.requests.size(), !options.disable_progress, clock);
  return RunLoad(load, clock, [&bar](size_t done) { bar.Update(done); });
}

}  // namespace

Status RunBenchmark(const BenchOptions& options) {
  AllowManyConnections();
  WEFT_ASSIGN_OR_RETURN(const Target target, FindTarget(options));
  WEFT_ASSIGN_OR_RETURN(const RequestSettings settings, MakeSettings(options, target));
  WEFT_ASSIGN_OR_RETURN(const auto tokenizer,
                        OpenPromptTokenizer(LocalFiles(), target.tokenizer_path));
  NumpyRandom numpy(static_cast<uint32_t>(options.seed));
  PythonRandom python(options.seed);
  WEFT_ASSIGN_OR_RETURN(const std::vector<DatasetRow> rows,
                        SampleDataset(options, *tokenizer, {numpy, python}));
  fmt::print("#Input tokens: {}\n#Output tokens: {}\n", SumTokens(rows, &DatasetRow::prompt_tokens),
             SumTokens(rows, &DatasetRow::output_tokens));
  const ArrivalOptions arrival_options = {options.request_rate,
                                          static_cast<int>(options.lora_names.size()),
                                          options.lora_distribution, options.lora_zipf_alpha};
  const std::vector<Arrival> arrivals =
      DrawArrivals(arrival_options, static_cast<int>(rows.size()), numpy, python);
  const Load load = MakeLoad(options, target, settings, rows, arrivals);

  WEFT_RETURN_IF_ERROR(WarmUp(options, target, settings, rows.front()));
  if (options.flush_cache) WEFT_RETURN_IF_ERROR(FlushCache(target));
  std::this_thread::sleep_for(kPauseAfterWarmup);
  const LoadResult result = RunWithProgress(options, load);

  Report report;
  AskServerInfo(target, report);
  WEFT_ASSIGN_OR_RETURN(const int64_t retokenized, CountRetokenized(*tokenizer, result.outcomes));
  report.metrics = CalculateMetrics(result.outcomes, result.duration, retokenized);
  fmt::print("{}", RenderTable(options, report));
  const std::string month_day = fmt::format("{:%m%d}", fmt::localtime(std::time(nullptr)));
  WEFT_RETURN_IF_ERROR(AppendLine(OutputFileName(options, month_day),
                                  RenderJsonLine(options, report, result.outcomes)));
  return ReportFailures(result.outcomes);
}

}  // namespace weft::bench
