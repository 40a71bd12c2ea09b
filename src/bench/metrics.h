#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bench/response_timer.h"

namespace weft::bench {

/// A latency's distribution over a run, in milliseconds; zeros for none.
struct Distribution {
  double mean = 0;
  double median = 0;
  double std = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

/// From samples in seconds.
Distribution Describe(std::vector<double> seconds);

/// bench_serving's BenchmarkMetrics. Throughputs are a second of `duration`.
struct Metrics {
  double duration = 0;
  int64_t completed = 0;
  int64_t total_input = 0;
  int64_t total_output = 0;
  int64_t total_output_retokenized = 0;
  double request_throughput = 0;
  double input_throughput = 0;
  double output_throughput = 0;
  double total_throughput = 0;
  /// Tokens in the best second; the most requests that touched one second.
  double max_output_tokens_per_s = 0;
  int64_t max_concurrent_requests = 0;
  double concurrency = 0;  ///< Sum of E2E latencies over the duration.
  Distribution e2e_latency;
  Distribution ttft;
  Distribution tpot;  ///< (E2E - TTFT) / (output tokens - 1), of requests with more than one.
  Distribution itl;
};

/// Failed requests count in nothing. Pure.
Metrics CalculateMetrics(std::span<const RequestOutcome> outcomes, double duration,
                         int64_t total_output_retokenized);

}  // namespace weft::bench
