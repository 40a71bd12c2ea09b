#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "cli/make_model.h"

namespace weft::cli {
namespace {

// Each from the model's own config.json on Hugging Face.

ModelConfig Llama31With8B() {
  ModelConfig config;
  config.architecture = Architecture::kLlama;
  config.vocabulary = 128256;
  config.hidden = 4096;
  config.intermediate = 14336;
  config.layers = 32;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.context_length = 131072;
  config.rope = {500000.0, RopeScaling::kLlama3, 8.0, 1.0, 4.0, 8192};
  config.begin_token = 128000;
  config.end_tokens = {128001, 128008, 128009};
  return config;
}

ModelConfig SmolLm2With135M() {
  ModelConfig config;
  config.architecture = Architecture::kLlama;
  config.vocabulary = 49152;
  config.hidden = 576;
  config.intermediate = 1536;
  config.layers = 30;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.context_length = 8192;
  config.rope.theta = 100000.0;
  config.tied_embeddings = true;
  config.begin_token = 1;
  config.end_tokens = {2};
  return config;
}

ModelConfig Qwen25With7B() {
  ModelConfig config;
  config.architecture = Architecture::kQwen2;
  config.vocabulary = 152064;
  config.hidden = 3584;
  config.intermediate = 18944;
  config.layers = 28;
  config.heads = 28;
  config.kv_heads = 4;
  config.head_dim = 128;
  config.context_length = 32768;
  config.rms_epsilon = 1e-6F;
  config.rope.theta = 1000000.0;
  config.qkv_bias = true;
  config.begin_token = 151643;
  config.end_tokens = {151645, 151643};
  return config;
}

ModelConfig Qwen3With8B() {
  ModelConfig config;
  config.architecture = Architecture::kQwen3;
  config.vocabulary = 151936;
  config.hidden = 4096;
  config.intermediate = 12288;
  config.layers = 36;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.context_length = 40960;
  config.rms_epsilon = 1e-6F;
  config.rope.theta = 1000000.0;
  config.qk_norm = true;
  config.begin_token = 151643;
  config.end_tokens = {151645, 151643};
  return config;
}

struct Known {
  std::string_view name;
  ModelConfig (*config)();
};
constexpr std::array<Known, 4> kKnown = {{{"llama-3.1-8b", &Llama31With8B},
                                          {"smollm2-135m", &SmolLm2With135M},
                                          {"qwen2.5-7b", &Qwen25With7B},
                                          {"qwen3-8b", &Qwen3With8B}}};

}  // namespace

std::vector<std::string> KnownModelNames() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.name);
  return names;
}

Result<ModelConfig> KnownModel(std::string_view name) {
  for (const Known& known : kKnown) {
    if (known.name == name) return known.config();
  }
  return MakeError(ErrorCode::kInvalidArgument, "--like {}: must be one of {}", name,
                   fmt::join(KnownModelNames(), ", "));
}

}  // namespace weft::cli
