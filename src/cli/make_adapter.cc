#include "cli/make_adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <thread>

#include "bench/json_text.h"
#include "checkpoint/model_files.h"
#include "checkpoint/write_safetensors.h"
#include "cli/make_model.h"
#include "cli/random_weights.h"

namespace weft::cli {
namespace {

using checkpoint::SafetensorsWriter;
using checkpoint::TensorInfo;

constexpr double kBaseDeviation = 0.02;

/// One matrix pair and the deviations of its elements.
struct Pair {
  TensorInfo a;
  TensorInfo b;
  double a_deviation = 0;
  double b_deviation = 0;
};

double Scaling(const MakeAdapterOptions& options) {
  return options.alpha / (options.use_rslora ? std::sqrt(options.rank) : options.rank);
}

/// A has the variance of PEFT's kaiming_uniform(a = sqrt 5): 1 / (3 in). B then makes
/// scaling * B A x as large as `strength` times W x for W of deviation 0.02.
Pair MakePair(const MakeAdapterOptions& options, const ModelConfig& model, int layer,
              Projection projection) {
  const int64_t in = model.InputSize(projection);
  const int64_t out = model.OutputSize(projection);
  const std::string_view block = projection <= Projection::kO ? "self_attn" : "mlp";
  const std::string name = fmt::format("base_model.model.model.layers.{}.{}.{}", layer, block,
                                       ProjectionName(projection));
  Pair pair;
  pair.a = {name + ".lora_A.weight", options.dtype, {options.rank, in}};
  pair.b = {name + ".lora_B.weight", options.dtype, {out, options.rank}};
  pair.a_deviation = 1 / std::sqrt(3.0 * static_cast<double>(in));
  const double base = kBaseDeviation * std::sqrt(static_cast<double>(in));
  pair.b_deviation = options.strength * base / (Scaling(options) * std::sqrt(options.rank / 3.0));
  return pair;
}

std::vector<Pair> AdapterPairs(const MakeAdapterOptions& options, const ModelConfig& model) {
  std::vector<Pair> pairs;
  for (int layer = 0; layer < model.layers; ++layer) {
    for (const Projection projection : options.targets) {
      pairs.push_back(MakePair(options, model, layer, projection));
    }
  }
  return pairs;
}

Result<Bytes> WriteWeights(const std::string& path, const std::vector<Pair>& pairs,
                           RandomWeights& weights) {
  std::vector<TensorInfo> tensors;
  Bytes bytes = 0;
  for (const Pair& pair : pairs) {
    tensors.push_back(pair.a);
    tensors.push_back(pair.b);
    bytes += (ElementsOf(pair.a) + ElementsOf(pair.b)) * ElementBytes(pair.a.type);
  }
  WEFT_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                        SafetensorsWriter::Create(path, tensors, {{"format", "pt"}}));
  for (const Pair& pair : pairs) {
    WEFT_RETURN_IF_ERROR(weights.Append(writer, pair.a, pair.a_deviation));
    WEFT_RETURN_IF_ERROR(weights.Append(writer, pair.b, pair.b_deviation));
  }
  WEFT_RETURN_IF_ERROR(writer.Finish());
  return bytes;
}

Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder + "/adapter_config.json", error)) {
    return MakeError(ErrorCode::kAlreadyExists,
                     "{} already holds an adapter; remove it or name another directory", folder);
  }
  std::filesystem::create_directories(folder, error);
  if (error) {
    return MakeError(ErrorCode::kIo, "cannot create the directory {}: {}", folder, error.message());
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<Projection>> ParseTargets(const std::vector<std::string>& names) {
  std::array<bool, kProjectionCount> wanted{};
  for (const std::string& name : names) {
    const bool all = name == "all" || name == "all-linear";
    bool known = all;
    for (const Projection projection : kAllProjections) {
      if (!all && ProjectionName(projection) != name) continue;
      wanted[static_cast<size_t>(projection)] = true;
      known = true;
    }
    if (!known) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "--target-modules {}: must be q_proj, k_proj, v_proj, o_proj, gate_proj, "
                       "up_proj, down_proj or all-linear",
                       name);
    }
  }
  std::vector<Projection> targets;
  for (const Projection projection : kAllProjections) {
    if (wanted[static_cast<size_t>(projection)]) targets.push_back(projection);
  }
  return targets;
}

std::string AdapterConfigJson(const MakeAdapterOptions& options) {
  std::vector<std::string> targets;
  for (const Projection projection : options.targets) {
    targets.push_back(fmt::format("\"{}\"", ProjectionName(projection)));
  }
  std::string json = "{\n";
  const auto add = [&json](std::string_view key, std::string_view value) {
    json += fmt::format("{}  \"{}\": {}", json.size() > 2 ? ",\n" : "", key, value);
  };
  add("alpha_pattern", "{}");
  add("auto_mapping", "null");
  add("base_model_name_or_path", bench::JsonString(options.model));
  add("bias", "\"none\"");
  add("fan_in_fan_out", "false");
  add("inference_mode", "true");
  add("init_lora_weights", "true");
  add("layer_replication", "null");
  add("layers_pattern", "null");
  add("layers_to_transform", "null");
  add("loftq_config", "{}");
  add("lora_alpha", options.alpha == std::floor(options.alpha)
                        ? fmt::format("{:.0f}", options.alpha)
                        : bench::PythonFloat(options.alpha, "Infinity"));
  add("lora_dropout", "0.0");
  add("megatron_config", "null");
  add("megatron_core", "\"megatron.core\"");
  add("modules_to_save", "null");
  add("peft_type", "\"LORA\"");
  add("r", std::to_string(options.rank));
  add("rank_pattern", "{}");
  add("revision", "null");
  add("target_modules", fmt::format("[{}]", fmt::join(targets, ", ")));
  add("task_type", "\"CAUSAL_LM\"");
  add("use_dora", "false");
  add("use_rslora", options.use_rslora ? "true" : "false");
  return json + "\n}\n";
}

std::vector<std::string> AdapterFolders(const MakeAdapterOptions& options) {
  if (options.count == 0) return {options.folder};
  std::vector<std::string> folders;
  for (int i = 0; i < options.count; ++i) {
    folders.push_back(fmt::format("{}/{}-{}", options.folder, options.name, i));
  }
  return folders;
}

Result<Bytes> MakeAdapters(const MakeAdapterOptions& options) {
  std::string model_path = options.model;
  if (model_path.ends_with("config.json")) {
    model_path = std::filesystem::absolute(model_path).parent_path().string();
  }
  WEFT_ASSIGN_OR_RETURN(const auto model,
                        checkpoint::OpenModelConfigOnly(LocalFiles(), model_path));
  const std::vector<Pair> pairs = AdapterPairs(options, model.config);
  const std::string config_json = AdapterConfigJson(options);
  const std::vector<std::string> folders = AdapterFolders(options);
  for (const std::string& folder : folders) WEFT_RETURN_IF_ERROR(PrepareFolder(folder));
  Bytes total = 0;
  for (size_t i = 0; i < folders.size(); ++i) {
    RandomWeights weights(options.seed + i, static_cast<int>(std::thread::hardware_concurrency()));
    WEFT_ASSIGN_OR_RETURN(const Bytes bytes,
                          WriteWeights(folders[i] + "/adapter_model.safetensors", pairs, weights));
    // Last, so that a folder with adapter_config.json is a whole adapter.
    WEFT_RETURN_IF_ERROR(WriteTextFile(folders[i] + "/adapter_config.json", config_json));
    total += bytes;
  }
  return total;
}

}  // namespace weft::cli
