#include "cli/make_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/check.h"
#include "bench/json_text.h"
#include "checkpoint/config_json.h"
#include "checkpoint/write_safetensors.h"
#include "cli/random_weights.h"

namespace weft::cli {
namespace {

using checkpoint::SafetensorsWriter;
using checkpoint::StoredType;
using checkpoint::TensorInfo;

constexpr double kInitializerRange = 0.02;

struct ArchitectureNames {
  Architecture architecture;
  std::string_view class_name;
  std::string_view model_type;
};
constexpr std::array<ArchitectureNames, 4> kArchitectures = {{
    {Architecture::kLlama, "LlamaForCausalLM", "llama"},
    {Architecture::kMistral, "MistralForCausalLM", "mistral"},
    {Architecture::kQwen2, "Qwen2ForCausalLM", "qwen2"},
    {Architecture::kQwen3, "Qwen3ForCausalLM", "qwen3"},
}};

const ArchitectureNames& NamesOf(Architecture architecture) {
  for (const ArchitectureNames& names : kArchitectures) {
    if (names.architecture == architecture) return names;
  }
  WEFT_CHECK(false);
}

/// Files that start together: one shard.
struct Shard {
  std::vector<TensorInfo> tensors;
  Bytes bytes = 0;
};

std::vector<Shard> CutIntoShards(std::vector<TensorInfo> tensors, Bytes limit) {
  std::vector<Shard> shards(1);
  for (TensorInfo& tensor : tensors) {
    const Bytes bytes = ElementsOf(tensor) * ElementBytes(tensor.type);
    if (shards.back().bytes > 0 && shards.back().bytes + bytes > limit) shards.emplace_back();
    shards.back().bytes += bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  return shards;
}

std::string ShardName(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::string IndexJson(const std::vector<Shard>& shards) {
  Bytes total = 0;
  std::string map;
  for (size_t i = 0; i < shards.size(); ++i) {
    total += shards[i].bytes;
    for (const TensorInfo& tensor : shards[i].tensors) {
      if (!map.empty()) map += ",\n";
      map += fmt::format("    \"{}\": \"{}\"", tensor.name, ShardName(i, shards.size()));
    }
  }
  return fmt::format(
      "{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": "
      "{{\n{}\n  }}\n}}\n",
      total, map);
}

Status WriteShard(const std::string& path, const Shard& shard, RandomWeights& weights) {
  WEFT_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                        SafetensorsWriter::Create(path, shard.tensors, {{"format", "pt"}}));
  for (const TensorInfo& tensor : shard.tensors) {
    const bool norm = tensor.name.ends_with("norm.weight");
    WEFT_RETURN_IF_ERROR(norm ? weights.AppendConstant(writer, tensor, 1.0F)
                              : weights.Append(writer, tensor, kInitializerRange));
  }
  return writer.Finish();
}

std::string EndTokensJson(const ModelConfig& config) {
  if (config.end_tokens.empty()) return "null";
  if (config.end_tokens.size() == 1) return std::to_string(config.end_tokens[0]);
  return fmt::format("[{}]", fmt::join(config.end_tokens, ", "));
}

std::string BeginTokenJson(const ModelConfig& config) {
  return config.begin_token < 0 ? "null" : std::to_string(config.begin_token);
}

std::string RopeScalingJson(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return "null";
    case RopeScaling::kLinear:
      return fmt::format(R"({{"rope_type": "linear", "factor": {}}})",
                         bench::PythonFloat(rope.factor, "Infinity"));
    case RopeScaling::kLlama3:
      return fmt::format(R"({{"rope_type": "llama3", "factor": {}, "low_freq_factor": {}, )"
                         R"("high_freq_factor": {}, )"
                         R"("original_max_position_embeddings": {}}})",
                         bench::PythonFloat(rope.factor, "Infinity"),
                         bench::PythonFloat(rope.low_frequency_factor, "Infinity"),
                         bench::PythonFloat(rope.high_frequency_factor, "Infinity"),
                         rope.original_context);
  }
  WEFT_CHECK(false);
}

Status CopyTokenizer(const std::string& from, const std::string& folder) {
  namespace fs = std::filesystem;
  constexpr std::array<std::string_view, 9> kFiles = {"tokenizer.json",
                                                      "tokenizer_config.json",
                                                      "special_tokens_map.json",
                                                      "tokenizer.model",
                                                      "chat_template.jinja",
                                                      "added_tokens.json",
                                                      "vocab.json",
                                                      "merges.txt",
                                                      "chat_template.json"};
  std::error_code error;
  std::vector<fs::path> found;
  if (fs::is_directory(from, error)) {
    for (const std::string_view name : kFiles) {
      if (fs::is_regular_file(fs::path(from) / name, error)) found.push_back(fs::path(from) / name);
    }
  } else if (fs::is_regular_file(from, error)) {
    found.emplace_back(from);
  }
  if (found.empty()) {
    return MakeError(ErrorCode::kNotFound,
                     "--tokenizer {}: neither a tokenizer file nor a directory with one", from);
  }
  for (const fs::path& file : found) {
    const fs::path to = fs::path(folder) / file.filename();
    fs::copy_file(file, to, fs::copy_options::overwrite_existing, error);
    if (!error) continue;
    const std::string reason = error.message();
    fs::remove(to, error);
    return MakeError(ErrorCode::kIo, "cannot write {}: {}", to.string(), reason);
  }
  return OkStatus();
}

Status CheckFolderIsFree(const std::string& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder + "/config.json", error)) {
    return MakeError(ErrorCode::kAlreadyExists,
                     "{} already holds a model; remove it or name another directory", folder);
  }
  std::filesystem::create_directories(folder, error);
  if (error) {
    return MakeError(ErrorCode::kIo, "cannot create the directory {}: {}", folder, error.message());
  }
  return OkStatus();
}

}  // namespace

std::string_view DtypeName(StoredType type) {
  if (type == StoredType::kF32) return "float32";
  return type == StoredType::kF16 ? "float16" : "bfloat16";
}

Status WriteTextFile(const std::string& path, std::string_view text) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) {
    return MakeError(ErrorCode::kIo, "cannot create {}: {}", path, std::strerror(errno));
  }
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int write_error = errno;
  if (std::fclose(file) == 0 && written) return OkStatus();
  const int reason = written ? errno : write_error;
  std::remove(path.c_str());
  return MakeError(ErrorCode::kIo, "cannot write {}: {}", path, std::strerror(reason));
}

std::string ConfigJson(const ModelConfig& config, StoredType dtype) {
  const ArchitectureNames& names = NamesOf(config.architecture);
  const bool qwen = names.model_type.starts_with("qwen");
  std::string json = "{\n";
  const auto add = [&json](std::string_view key, std::string_view value) {
    json += fmt::format("{}  \"{}\": {}", json.size() > 2 ? ",\n" : "", key, value);
  };
  const auto number = [&add](std::string_view key, int64_t value) {
    add(key, std::to_string(value));
  };
  add("architectures", fmt::format("[\"{}\"]", names.class_name));
  add("model_type", fmt::format("\"{}\"", names.model_type));
  number("vocab_size", config.vocabulary);
  number("hidden_size", config.hidden);
  number("intermediate_size", config.intermediate);
  number("num_hidden_layers", config.layers);
  number("num_attention_heads", config.heads);
  number("num_key_value_heads", config.kv_heads);
  number("head_dim", config.head_dim);
  number("max_position_embeddings", config.context_length);
  add("hidden_act", "\"silu\"");
  add("initializer_range", bench::PythonFloat(kInitializerRange, "Infinity"));
  add("rms_norm_eps", fmt::format("{}", config.rms_epsilon));
  add("rope_theta", bench::PythonFloat(config.rope.theta, "Infinity"));
  add("rope_scaling", RopeScalingJson(config.rope));
  if (config.architecture != Architecture::kQwen2) {
    add("attention_bias", config.qkv_bias ? "true" : "false");
  }
  if (qwen) add("use_sliding_window", "false");
  add("attention_dropout", "0.0");
  add("tie_word_embeddings", config.tied_embeddings ? "true" : "false");
  add("bos_token_id", BeginTokenJson(config));
  add("eos_token_id", EndTokensJson(config));
  add("torch_dtype", fmt::format("\"{}\"", DtypeName(dtype)));
  add("use_cache", "true");
  return json + "\n}\n";
}

std::vector<TensorInfo> ModelTensors(const ModelConfig& config, StoredType dtype) {
  std::vector<TensorInfo> tensors;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    tensors.push_back({std::move(name), dtype, std::move(shape)});
  };
  add("model.embed_tokens.weight", {config.vocabulary, config.hidden});
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    add(at + "input_layernorm.weight", {config.hidden});
    for (const Projection projection : kAllProjections) {
      const bool attention = projection <= Projection::kO;
      const std::string name =
          fmt::format("{}{}.{}", at, attention ? "self_attn" : "mlp", ProjectionName(projection));
      const int64_t out = config.OutputSize(projection);
      add(name + ".weight", {out, config.InputSize(projection)});
      const bool bias = projection == Projection::kO ? config.output_bias : config.qkv_bias;
      if (attention && bias) add(name + ".bias", {out});
    }
    if (config.qk_norm) {
      add(at + "self_attn.q_norm.weight", {config.head_dim});
      add(at + "self_attn.k_norm.weight", {config.head_dim});
    }
    add(at + "post_attention_layernorm.weight", {config.hidden});
  }
  add("model.norm.weight", {config.hidden});
  if (!config.tied_embeddings) add("lm_head.weight", {config.vocabulary, config.hidden});
  return tensors;
}

Result<Bytes> MakeModel(const MakeModelOptions& options) {
  const ModelConfig& config = options.config;
  const std::string config_json = ConfigJson(config, options.dtype);
  const std::string generation_json = fmt::format(
      "{{\n  \"bos_token_id\": {},\n  \"eos_token_id\": {},\n  \"do_sample\": false\n}}\n",
      BeginTokenJson(config), EndTokensJson(config));
  if (const auto parsed = checkpoint::ParseConfigJson(config_json, generation_json); !parsed) {
    return parsed.error().WithContext("this shape cannot be served");
  }
  WEFT_RETURN_IF_ERROR(CheckFolderIsFree(options.folder));
  if (!options.tokenizer.empty()) {
    WEFT_RETURN_IF_ERROR(CopyTokenizer(options.tokenizer, options.folder));
  }
  const std::vector<Shard> shards =
      CutIntoShards(ModelTensors(config, options.dtype), options.max_shard_bytes);
  RandomWeights weights(options.seed, static_cast<int>(std::thread::hardware_concurrency()));
  Bytes total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string path = options.folder + "/" + ShardName(i, shards.size());
    WEFT_RETURN_IF_ERROR(WriteShard(path, shards[i], weights));
    total += shards[i].bytes;
  }
  if (shards.size() > 1) {
    WEFT_RETURN_IF_ERROR(
        WriteTextFile(options.folder + "/model.safetensors.index.json", IndexJson(shards)));
  }
  WEFT_RETURN_IF_ERROR(WriteTextFile(options.folder + "/generation_config.json", generation_json));
  // Last, so that a directory with config.json is a whole model.
  WEFT_RETURN_IF_ERROR(WriteTextFile(options.folder + "/config.json", config_json));
  return total;
}

}  // namespace weft::cli
