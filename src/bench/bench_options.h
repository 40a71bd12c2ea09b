#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/arrivals.h"
#include "bench/datasets.h"

namespace weft::bench {

enum class DatasetName : uint8_t { kShareGpt, kRandom, kRandomIds };

/// The flags of `weft bench`: bench_serving's names, meanings and defaults.
struct BenchOptions {
  std::string backend = "sglang";
  std::optional<std::string> base_url;
  std::string host = "0.0.0.0";
  std::optional<int> port;  ///< The backend's own when absent.
  std::optional<std::string> model;
  std::optional<std::string> served_model_name;
  std::optional<std::string> tokenizer;

  DatasetName dataset_name = DatasetName::kShareGpt;
  std::string dataset_path;
  int num_prompts = 1000;
  RandomLengths random;
  std::optional<int64_t> sharegpt_output_len;
  std::optional<int64_t> sharegpt_context_len;
  std::string prompt_suffix;
  bool tokenize_prompt = false;

  double request_rate = std::numeric_limits<double>::infinity();
  std::optional<int> max_concurrency;
  uint64_t seed = 1;
  std::vector<std::string> lora_names;
  AdapterDistribution lora_distribution = AdapterDistribution::kUniform;
  double lora_zipf_alpha = 1.5;

  bool disable_stream = false;
  bool disable_ignore_eos = false;
  bool return_logprob = false;
  std::string extra_request_body;
  std::string lora_request_body;
  std::vector<std::pair<std::string, std::string>> headers;

  int warmup_requests = 1;
  bool flush_cache = false;
  bool disable_progress = false;
  std::optional<std::string> output_file;
  bool output_details = false;
  std::optional<std::string> tag;
};

/// "random-ids" and its siblings.
std::string_view DatasetNameText(DatasetName name);

}  // namespace weft::bench
