#include "bench/metrics.h"

#include <algorithm>
#include <cmath>

#include "bench/statistics.h"

namespace weft::bench {
namespace {

constexpr double kMilliseconds = 1000;

struct Peaks {
  double output_tokens_per_s = 0;
  int64_t concurrent_requests = 0;
};

/// Counts tokens and requests by whole seconds since the first start.
Peaks FindPeaks(std::span<const RequestOutcome> outcomes) {
  double first_start = HUGE_VAL;
  double last_end = -HUGE_VAL;
  for (const RequestOutcome& outcome : outcomes) {
    if (!outcome.success) continue;
    first_start = std::min(first_start, outcome.start);
    last_end = std::max(last_end, outcome.start + outcome.latency);
  }
  if (first_start == HUGE_VAL) return {};
  const auto seconds = static_cast<size_t>(std::ceil(last_end - first_start)) + 1;
  std::vector<int64_t> tokens(seconds, 0);
  std::vector<int64_t> requests(seconds, 0);
  const auto second_of = [&](double time) { return static_cast<size_t>(time - first_start); };
  for (const RequestOutcome& outcome : outcomes) {
    if (!outcome.success) continue;
    double time = outcome.start + outcome.ttft;
    if (second_of(time) < seconds) ++tokens[second_of(time)];
    for (const double gap : outcome.itl) {
      time += gap;
      if (second_of(time) < seconds) ++tokens[second_of(time)];
    }
    const size_t end = std::min(second_of(outcome.start + outcome.latency) + 1, seconds);
    for (size_t second = second_of(outcome.start); second < end; ++second) ++requests[second];
  }
  return {static_cast<double>(*std::max_element(tokens.begin(), tokens.end())),
          *std::max_element(requests.begin(), requests.end())};
}

}  // namespace

Distribution Describe(std::vector<double> seconds) {
  Distribution result;
  result.mean = Mean(seconds) * kMilliseconds;
  result.std = StandardDeviation(seconds) * kMilliseconds;
  std::sort(seconds.begin(), seconds.end());
  result.median = Median(seconds) * kMilliseconds;
  result.p90 = Percentile(seconds, 90) * kMilliseconds;
  result.p95 = Percentile(seconds, 95) * kMilliseconds;
  result.p99 = Percentile(seconds, 99) * kMilliseconds;
  result.max = Maximum(seconds) * kMilliseconds;
  return result;
}

Metrics CalculateMetrics(std::span<const RequestOutcome> outcomes, double duration,
                         int64_t total_output_retokenized) {
  Metrics metrics;
  std::vector<double> latencies;
  std::vector<double> ttfts;
  std::vector<double> tpots;
  std::vector<double> itls;
  for (const RequestOutcome& outcome : outcomes) {
    if (!outcome.success) continue;
    ++metrics.completed;
    metrics.total_input += outcome.prompt_tokens;
    metrics.total_output += outcome.output_tokens;
    latencies.push_back(outcome.latency);
    ttfts.push_back(outcome.ttft);
    itls.insert(itls.end(), outcome.itl.begin(), outcome.itl.end());
    if (outcome.output_tokens > 1) {
      tpots.push_back((outcome.latency - outcome.ttft) /
                      static_cast<double>(outcome.output_tokens - 1));
    }
  }
  metrics.duration = duration;
  metrics.total_output_retokenized = total_output_retokenized;
  const auto rate = [duration](double count) { return duration > 0 ? count / duration : 0; };
  metrics.request_throughput = rate(static_cast<double>(metrics.completed));
  metrics.input_throughput = rate(static_cast<double>(metrics.total_input));
  metrics.output_throughput = rate(static_cast<double>(metrics.total_output));
  metrics.total_throughput = rate(static_cast<double>(metrics.total_input + metrics.total_output));
  metrics.concurrency = rate(Sum(latencies));
  const Peaks peaks = FindPeaks(outcomes);
  metrics.max_output_tokens_per_s = peaks.output_tokens_per_s;
  metrics.max_concurrent_requests = peaks.concurrent_requests;
  metrics.e2e_latency = Describe(std::move(latencies));
  metrics.ttft = Describe(std::move(ttfts));
  metrics.tpot = Describe(std::move(tpots));
  metrics.itl = Describe(std::move(itls));
  return metrics;
}

}  // namespace weft::bench
