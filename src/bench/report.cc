#include "bench/report.h"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string_view>

#include "base/thread_role.h"
#include "bench/json_text.h"

namespace weft::bench {
namespace {

class Table {
 public:
  void Title(std::string_view text, char fill) {
    const std::string pattern = fmt::format("{{:{}^50}}\n", fill);
    fmt::format_to(std::back_inserter(text_), fmt::runtime(pattern), text);
  }
  void Row(std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(text_), "{:<40} {:<10}\n", name, value);
  }
  void Row(std::string_view name, int64_t value) { Row(name, std::to_string(value)); }
  void Row(std::string_view name, double value) { Row(name, fmt::format("{:.2f}", value)); }
  void Row(std::string_view kind, std::string_view of, double value) {
    Row(fmt::format("{} {} (ms):", kind, of), value);
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

class JsonObject {
 public:
  void Raw(std::string_view key, std::string_view json) {
    if (text_.size() > 1) text_ += ", ";
    AppendJsonString(text_, key);
    text_.append(": ").append(json);
  }
  void Text(std::string_view key, const std::optional<std::string>& value) {
    Raw(key, value ? JsonString(*value) : "null");
  }
  void Int(std::string_view key, int64_t value) { Raw(key, std::to_string(value)); }
  template <typename T>
  void Int(std::string_view key, const std::optional<T>& value) {
    Raw(key, value ? std::to_string(*value) : "null");
  }
  void Float(std::string_view key, double value) { Raw(key, PythonFloat(value, "Infinity")); }
  /// A list with one element a request.
  template <typename Each>
  void List(std::string_view key, std::span<const RequestOutcome> outcomes, Each each) {
    std::string list;
    for (const RequestOutcome& outcome : outcomes) {
      if (!list.empty()) list += ", ";
      list += each(outcome);
    }
    Raw(key, "[" + list + "]");
  }
  std::string Take() { return std::move(text_) + "}"; }

 private:
  std::string text_ = "{";
};

std::string FloatList(std::span<const double> values) {
  std::string list;
  for (const double value : values) {
    if (!list.empty()) list += ", ";
    list += PythonFloat(value, "Infinity");
  }
  return "[" + list + "]";
}

void AddArguments(JsonObject& json, const BenchOptions& options, const Report& report) {
  json.Text("tag", options.tag);
  json.Text("backend", options.backend);
  json.Text("dataset_name", std::string(DatasetNameText(options.dataset_name)));
  json.Float("request_rate", options.request_rate);
  json.Int("max_concurrency", options.max_concurrency);
  json.Int("sharegpt_output_len", options.sharegpt_output_len);
  json.Int("random_input_len", options.random.input);
  json.Int("random_output_len", options.random.output);
  json.Float("random_range_ratio", options.random.range_ratio);
  json.Raw("server_info", report.server_info.value_or("null"));
}

void AddDistribution(JsonObject& json, std::string_view name, const Distribution& values,
                     std::string_view upper, double upper_value) {
  json.Float(fmt::format("mean_{}_ms", name), values.mean);
  json.Float(fmt::format("median_{}_ms", name), values.median);
  json.Float(fmt::format("std_{}_ms", name), values.std);
  if (!upper.empty()) json.Float(fmt::format("{}_{}_ms", upper, name), upper_value);
  json.Float(fmt::format("p99_{}_ms", name), values.p99);
}

void AddResults(JsonObject& json, const Report& report) {
  const Metrics& metrics = report.metrics;
  json.Float("duration", metrics.duration);
  json.Int("completed", metrics.completed);
  json.Int("total_input_tokens", metrics.total_input);
  json.Int("total_input_text_tokens", metrics.total_input);
  json.Int("total_input_vision_tokens", 0);
  json.Int("total_output_tokens", metrics.total_output);
  json.Int("total_output_tokens_retokenized", metrics.total_output_retokenized);
  json.Float("request_throughput", metrics.request_throughput);
  json.Float("input_throughput", metrics.input_throughput);
  json.Float("output_throughput", metrics.output_throughput);
  json.Float("total_throughput", metrics.total_throughput);
  AddDistribution(json, "e2e_latency", metrics.e2e_latency, "p90", metrics.e2e_latency.p90);
  AddDistribution(json, "ttft", metrics.ttft, "", 0);
  AddDistribution(json, "tpot", metrics.tpot, "", 0);
  AddDistribution(json, "itl", metrics.itl, "p95", metrics.itl.p95);
  json.Float("concurrency", metrics.concurrency);
  json.Raw("accept_length",
           report.accept_length ? PythonFloat(*report.accept_length, "Infinity") : "null");
  json.Float("max_output_tokens_per_s", metrics.max_output_tokens_per_s);
  json.Int("max_concurrent_requests", metrics.max_concurrent_requests);
}

/// What bench_serving computes but does not write.
void AddMorePercentiles(JsonObject& json, const Metrics& metrics) {
  json.Float("p95_e2e_latency_ms", metrics.e2e_latency.p95);
  json.Float("p90_ttft_ms", metrics.ttft.p90);
  json.Float("p95_ttft_ms", metrics.ttft.p95);
  json.Float("p90_tpot_ms", metrics.tpot.p90);
  json.Float("p95_tpot_ms", metrics.tpot.p95);
  json.Float("p90_itl_ms", metrics.itl.p90);
  json.Float("max_itl_ms", metrics.itl.max);
}

void AddDetails(JsonObject& json, std::span<const RequestOutcome> outcomes) {
  json.List("input_lens", outcomes, [](const auto& o) { return std::to_string(o.prompt_tokens); });
  json.List("output_lens", outcomes,
            [](const auto& o) { return std::to_string(o.success ? o.output_tokens : 0); });
  json.List("ttfts", outcomes, [](const auto& o) { return PythonFloat(o.ttft, "Infinity"); });
  json.List("itls", outcomes, [](const auto& o) { return FloatList(o.itl); });
  json.List("generated_texts", outcomes,
            [](const auto& o) { return JsonString(o.generated_text); });
  json.List("errors", outcomes, [](const auto& o) { return JsonString(o.error); });
}

}  // namespace

std::string_view DatasetNameText(DatasetName name) {
  constexpr std::array<std::string_view, 3> kNames = {"sharegpt", "random", "random-ids"};
  return kNames[static_cast<size_t>(name)];
}

std::string RenderTable(const BenchOptions& options, const Report& report) {
  const Metrics& metrics = report.metrics;
  Table table;
  table.Title(" Serving Benchmark Result ", '=');
  table.Row("Backend:", options.backend);
  table.Row("Traffic request rate:", PythonFloat(options.request_rate, "inf"));
  table.Row("Max request concurrency:",
            options.max_concurrency ? std::to_string(*options.max_concurrency) : "not set");
  table.Row("Successful requests:", metrics.completed);
  table.Row("Benchmark duration (s):", metrics.duration);
  table.Row("Total input tokens:", metrics.total_input);
  table.Row("Total input text tokens:", metrics.total_input);
  table.Row("Total generated tokens:", metrics.total_output);
  table.Row("Total generated tokens (retokenized):", metrics.total_output_retokenized);
  table.Row("Request throughput (req/s):", metrics.request_throughput);
  table.Row("Input token throughput (tok/s):", metrics.input_throughput);
  table.Row("Output token throughput (tok/s):", metrics.output_throughput);
  table.Row("Peak output token throughput (tok/s):", metrics.max_output_tokens_per_s);
  table.Row("Peak concurrent requests:", metrics.max_concurrent_requests);
  table.Row("Total token throughput (tok/s):", metrics.total_throughput);
  table.Row("Concurrency:", metrics.concurrency);
  if (report.accept_length) table.Row("Accept length:", *report.accept_length);
  table.Title("End-to-End Latency", '-');
  table.Row("Mean", "E2E Latency", metrics.e2e_latency.mean);
  table.Row("Median", "E2E Latency", metrics.e2e_latency.median);
  table.Row("P90", "E2E Latency", metrics.e2e_latency.p90);
  table.Row("P99", "E2E Latency", metrics.e2e_latency.p99);
  table.Title("Time to First Token", '-');
  table.Row("Mean", "TTFT", metrics.ttft.mean);
  table.Row("Median", "TTFT", metrics.ttft.median);
  table.Row("P99", "TTFT", metrics.ttft.p99);
  table.Title("Time per Output Token (excl. 1st token)", '-');
  table.Row("Mean", "TPOT", metrics.tpot.mean);
  table.Row("Median", "TPOT", metrics.tpot.median);
  table.Row("P99", "TPOT", metrics.tpot.p99);
  table.Title("Inter-Token Latency", '-');
  table.Row("Mean", "ITL", metrics.itl.mean);
  table.Row("Median", "ITL", metrics.itl.median);
  table.Row("P95", "ITL", metrics.itl.p95);
  table.Row("P99", "ITL", metrics.itl.p99);
  table.Row("Max", "ITL", metrics.itl.max);
  table.Title("", '=');
  return "\n" + table.Take();
}

std::string RenderJsonLine(const BenchOptions& options, const Report& report,
                           std::span<const RequestOutcome> outcomes) {
  JsonObject json;
  AddArguments(json, options, report);
  AddResults(json, report);
  AddMorePercentiles(json, report.metrics);
  if (options.output_details) AddDetails(json, outcomes);
  return json.Take();
}

std::string OutputFileName(const BenchOptions& options, const std::string& month_day) {
  if (options.output_file) return *options.output_file;
  if (options.dataset_name == DatasetName::kShareGpt) {
    return fmt::format("{}_{}_{}_sharegpt.jsonl", options.backend, month_day, options.num_prompts);
  }
  return fmt::format("{}_{}_{}_{}_{}.jsonl", options.backend, month_day, options.num_prompts,
                     options.random.input, options.random.output);
}

Status AppendLine(const std::string& path, const std::string& line) {
  AssertMayBlock("AppendLine");
  std::ofstream file(path, std::ios::app);
  file << line << '\n';
  file.close();
  if (!file) {
    return MakeError(ErrorCode::kIo, "cannot append the results to {} (--output-file)", path);
  }
  return OkStatus();
}

}  // namespace weft::bench
