#include "cli/load_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli/number_range.h"

namespace weft::cli {

using bench::AdapterDistribution;

namespace {

/// With them the times of all requests are numbers.
constexpr double kLeastRate = 1e-3;
constexpr int kMostPrompts = 1'000'000;
constexpr int64_t kLongest = int64_t{1} << 30;
constexpr int kMostWarmups = 1000;

/// CLI::PositiveNumber ends at the largest finite number.
CLI::Validator RateOrInfinite() {
  return CLI::Validator(
      [](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && value >= kLeastRate
                   ? std::string()
                   : fmt::format("{}: must be a number of {} at least, or inf", text, kLeastRate);
      },
      "FLOAT|inf");
}

}  // namespace

void AddRandomLengthFlags(CLI::App& app, bench::BenchOptions& options) {
  const char* group = "Dataset";
  app.add_option("--num-prompts,--num-prompt", options.num_prompts, "How many requests")
      ->check(NumberRange(1, kMostPrompts))
      ->capture_default_str()
      ->group(group);
  app.add_option("--random-input-len,--random-input", options.random.input, "Longest prompt")
      ->check(NumberRange(int64_t{1}, kLongest))
      ->capture_default_str()
      ->group(group);
  app.add_option("--random-output-len,--random-output", options.random.output, "Longest answer")
      ->check(NumberRange(int64_t{1}, kLongest))
      ->capture_default_str()
      ->group(group);
  app.add_option("--random-range-ratio", options.random.range_ratio,
                 "Shortest as a share of the longest")
      ->check(NumberRange(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", options.seed, "The same seed makes the same requests")
      ->check(NumberRange(uint64_t{0}, uint64_t{0xffffffffu}))
      ->capture_default_str()
      ->group(group);
}

void AddArrivalFlags(CLI::App& app, bench::BenchOptions& options) {
  const std::map<std::string, AdapterDistribution> distributions = {
      {"uniform", AdapterDistribution::kUniform},
      {"distinct", AdapterDistribution::kDistinct},
      {"skewed", AdapterDistribution::kSkewed}};
  const char* group = "Load";
  app.add_option("--request-rate", options.request_rate,
                 "Requests a second, at random times; inf sends all at once")
      ->check(RateOrInfinite())
      ->capture_default_str()
      ->group(group);
  app.add_option("--max-concurrency", options.max_concurrency, "At most so many at a time")
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--lora-request-distribution", options.lora_distribution,
                 "uniform (default), distinct: in turn, or skewed: each --lora-zipf-alpha times as "
                 "often as the next")
      ->transform(CLI::CheckedTransformer(distributions).description("{uniform,distinct,skewed}"))
      ->group(group);
  app.add_option("--lora-zipf-alpha", options.lora_zipf_alpha, "For skewed; above 1")
      ->capture_default_str()
      ->group(group);
  app.add_option("--warmup-requests", options.warmup_requests, "Sent before, not counted")
      ->check(NumberRange(0, kMostWarmups))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--flush-cache", options.flush_cache, "Empty the prefix cache before")->group(group);
}

Status CheckArrivals(const bench::BenchOptions& options, int64_t adapters) {
  if (options.lora_distribution != AdapterDistribution::kUniform && adapters < 2) {
    return Error{ErrorCode::kInvalidArgument,
                 "--lora-request-distribution: distinct and skewed need two or more adapters"};
  }
  if (options.lora_zipf_alpha > 1) return OkStatus();
  return MakeError(ErrorCode::kInvalidArgument, "--lora-zipf-alpha {}: must be above 1",
                   options.lora_zipf_alpha);
}

}  // namespace weft::cli
