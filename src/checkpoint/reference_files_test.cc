// The files that transformers and PEFT wrote under tests/data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/adapter_reads.h"
#include "checkpoint/config_json.h"
#include "checkpoint/json_object.h"
#include "checkpoint/model_files.h"
#include "checkpoint/module_selection.h"
#include "checkpoint/peft_adapter.h"
#include "checkpoint/required_tensors.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

using ::testing::HasSubstr;

const std::string kData = SourceFolder() + "/tests/data";

std::vector<std::string> Folders(const std::string& path) {
  auto names = LocalFiles().ListFolders(path);
  return names.ok() ? *names : std::vector<std::string>();
}

ModelConfig BaseConfig(const std::string& name) {
  auto model = OpenModelConfigOnly(LocalFiles(), kData + "/models/" + name);
  EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
  return model.ok() ? model->config : ModelConfig();
}

/// The field `base_model` of a JSON file, of its object `key` when that is not empty.
std::string BaseModelOf(const std::string& path, const std::string& key) {
  auto text = LocalFiles().ReadText(path);
  EXPECT_TRUE(text.ok()) << path;
  auto document = JsonDocument::Parse(*text, path);
  EXPECT_TRUE(document.ok());
  if (key.empty()) return *document->root().Require<std::string>("base_model");
  return *(*document->root().GetObject(key))->Require<std::string>("base_model");
}

/// What a loader does: plan, read and convert every layer.
Status ReadWhole(const AdapterFiles& adapter, int32_t layers) {
  auto file = LocalFiles().Open(adapter.weights_path);
  if (!file.ok()) return file.error();
  for (int32_t layer = 0; layer < layers; ++layer) {
    for (const ReadRange& range : PlanLayerReads(adapter, LayerIndex(layer))) {
      std::vector<std::byte> buffer(static_cast<size_t>(range.size));
      WEFT_RETURN_IF_ERROR(ReadRaw(**file, range, buffer));
      for (const RangePart& part : range.parts) {
        const TensorRef& tensor = PartTensor(adapter, part);
        std::vector<BFloat16> values(static_cast<size_t>(tensor.rows * tensor.columns));
        WEFT_RETURN_IF_ERROR(ConvertTensor(tensor, PartBytes(adapter, part, buffer), values));
      }
    }
  }
  return OkStatus();
}

TEST(ReferenceFiles, EveryModelOpensAndItsTensorsAreFinite) {
  const std::vector<std::string> names = Folders(kData + "/models");
  ASSERT_GE(names.size(), 8u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    auto model = OpenModel(LocalFiles(), kData + "/models/" + name);
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_EQ(model->config.name, name);
    EXPECT_EQ(model->config.notes, std::vector<std::string>());
    EXPECT_FALSE(model->tokenizer_json.empty());
    EXPECT_FALSE(model->tokenizer_config_json.empty());
    EXPECT_FALSE(model->chat_template_jinja.empty());
    EXPECT_FALSE(model->generation_config_json.empty());
    EXPECT_FALSE(model->gguf_vocabulary.has_value());
    for (const TensorInfo& wanted : RequiredTensors(model->config)) {
      const TensorInfo* tensor = model->tensors->Find(wanted.name);
      ASSERT_NE(tensor, nullptr);
      const int64_t rows = tensor->shape.size() == 2 ? tensor->shape[0] : 1;
      std::vector<float> values(static_cast<size_t>(rows * tensor->shape.back()));
      ASSERT_TRUE(model->tensors->ReadRows(*tensor, 0, rows, values).ok());
      double sum = 0;
      for (float value : values) sum += std::abs(value);
      EXPECT_TRUE(std::isfinite(sum) && sum > 0) << wanted.name;
    }
  }
}

TEST(ReferenceFiles, ShardsHoldTheSameTensorsAsOneFile) {
  auto whole = OpenModel(LocalFiles(), kData + "/models/llama");
  auto shards = OpenModel(LocalFiles(), kData + "/models/llama-sharded");
  ASSERT_TRUE(whole.ok() && shards.ok());
  EXPECT_EQ(whole->tensors->Names(), shards->tensors->Names());
}

TEST(ReferenceFiles, ConfigsOfTransformers4And5SayTheSame) {
  const std::string folder = kData + "/models/llama";
  auto text = LocalFiles().ReadText(folder + "/config.transformers-4.json");
  ASSERT_TRUE(text.ok());
  const ModelConfig five = BaseConfig("llama");
  auto generation = LocalFiles().ReadText(folder + "/generation_config.json");
  auto four = ParseConfigJson(*text, *generation);
  ASSERT_TRUE(four.ok()) << four.error().message;
  EXPECT_EQ(five.rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(five.rope.original_context, 32);
  EXPECT_EQ(four->rope.scaling, five.rope.scaling);
  EXPECT_EQ(four->rope.theta, five.rope.theta);
  EXPECT_EQ(four->rope.factor, five.rope.factor);
  EXPECT_EQ(four->rope.original_context, five.rope.original_context);
  EXPECT_EQ(four->head_dim, five.head_dim);
  EXPECT_EQ(four->end_tokens, five.end_tokens);
  EXPECT_EQ(four->tied_embeddings, five.tied_embeddings);
}

TEST(ReferenceFiles, ArchitecturesHaveTheirTraits) {
  EXPECT_TRUE(BaseConfig("llama-tied").tied_embeddings);
  EXPECT_TRUE(BaseConfig("llama-bias").output_bias);
  EXPECT_EQ(BaseConfig("llama-bias").rope.scaling, RopeScaling::kLinear);
  EXPECT_TRUE(BaseConfig("qwen2").qkv_bias);
  EXPECT_FALSE(BaseConfig("qwen2").output_bias);
  EXPECT_TRUE(BaseConfig("qwen3").qk_norm);
  EXPECT_EQ(BaseConfig("mistral").architecture, Architecture::kMistral);
  EXPECT_FALSE(BaseConfig("smollm3").layer_without_rope.empty());
  EXPECT_EQ(BaseConfig("smollm3").architecture, Architecture::kLlama);
}

TEST(ReferenceFiles, EveryAdapterOpensAndReads) {
  const std::vector<std::string> names = Folders(kData + "/adapters");
  ASSERT_GE(names.size(), 20u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const std::string folder = kData + "/adapters/" + name;
    const ModelConfig model = BaseConfig(BaseModelOf(folder + "/expected.json", ""));
    auto adapter = OpenAdapter(LocalFiles(), folder, model, AdapterLimits{});
    ASSERT_TRUE(adapter.ok()) << adapter.error().message;
    const Status read = ReadWhole(*adapter, model.layers);
    EXPECT_TRUE(read.ok()) << read.error().message;
    for (const std::string& warning : adapter->warnings) {
      EXPECT_THAT(warning, testing::AnyOf(HasSubstr("made for the base model"),
                                          HasSubstr("fan_in_fan_out")));
    }
    // What PEFT wrote is read with one call a layer.
    for (int32_t layer = 0; layer < model.layers; ++layer) {
      EXPECT_LE(PlanLayerReads(*adapter, LayerIndex(layer)).size(), 1u);
    }
  }
}

/// What is expected of one module: layer, projection, rank, alpha.
struct WantedModule {
  int32_t layer;
  Projection projection;
  int32_t rank;
  double alpha;
};

void ExpectModules(const std::string& name, const std::vector<WantedModule>& wanted) {
  const ModelConfig model = BaseConfig("llama");
  auto adapter = OpenAdapter(LocalFiles(), kData + "/adapters/" + name, model, AdapterLimits{});
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  for (const WantedModule& want : wanted) {
    SCOPED_TRACE(ModuleName(LayerIndex(want.layer), want.projection));
    const auto module = std::find_if(
        adapter->modules.begin(), adapter->modules.end(), [&](const AdapterModule& found) {
          return found.layer == LayerIndex(want.layer) && found.projection == want.projection;
        });
    ASSERT_NE(module, adapter->modules.end());
    EXPECT_EQ(module->rank, want.rank);
    const double divisor = adapter->config.use_rslora ? std::sqrt(want.rank) : want.rank;
    EXPECT_EQ(module->scaling, static_cast<float>(want.alpha / divisor));
  }
}

TEST(ReferenceFiles, PatternsGiveEachModuleItsRankAndScaling) {
  ExpectModules("patterns", {{0, Projection::kQ, 4, 4},
                             {0, Projection::kK, 6, 16},
                             {1, Projection::kK, 8, 16},
                             {0, Projection::kO, 2, 16},
                             {0, Projection::kV, 8, 32},
                             {1, Projection::kDown, 12, 16},
                             {0, Projection::kUp, 8, 4}});
  ExpectModules(
      "patterns-rslora",
      {{0, Projection::kQ, 8, 16}, {1, Projection::kV, 2, 16}, {1, Projection::kDown, 8, 4}});
}

TEST(ReferenceFiles, SelectionsAdaptWhatPeftAdapted) {
  const ModelConfig model = BaseConfig("llama");
  const auto modules = [&](const std::string& name) {
    auto adapter = OpenAdapter(LocalFiles(), kData + "/adapters/" + name, model, AdapterLimits{});
    EXPECT_TRUE(adapter.ok());
    std::vector<std::string> names;
    for (const AdapterModule& m : adapter->modules) {
      names.push_back(ModuleName(m.layer, m.projection));
    }
    return names;
  };
  EXPECT_EQ(modules("full-path"), (std::vector<std::string>{"model.layers.0.self_attn.q_proj",
                                                            "model.layers.1.mlp.down_proj"}));
  EXPECT_EQ(modules("one-layer-number"),
            (std::vector<std::string>{"model.layers.0.self_attn.q_proj",
                                      "model.layers.0.mlp.gate_proj"}));
  EXPECT_EQ(modules("one-layer").front(), "model.layers.1.self_attn.q_proj");
  EXPECT_EQ(modules("all-linear-kept").size(), 14u);
  EXPECT_EQ(modules("excluded").size(), 11u);
  EXPECT_EQ(modules("regex").size(), 6u);
}

/// For each folder that must be refused, what the message must say.
const std::map<std::string, std::vector<std::string>> kRefusals = {
    {"dora", {"use_dora", "DoRA", "use_dora=False"}},
    {"alora", {"alora_invocation_tokens", "aLoRA", "train without"}},
    {"lora-bias", {"lora_bias", "lora_bias=False"}},
    {"bias-all", {"'bias'", "('all')", "bias=\"none\""}},
    {"bias-lora-only", {"'bias'", "('lora_only')", "bias=\"none\""}},
    {"modules-to-save", {"modules_to_save", "merge the adapter"}},
    {"trained-token-rows", {"trainable_token_indices", "train without"}},
    {"layer-replication", {"layer_replication", "train without"}},
    {"qalora", {"use_qalora=False"}},
    {"target-parameters", {"target_parameters", "train with target_modules"}},
    {"lora-on-lm-head", {"'lm_head'", "train without it"}},
    {"lora-on-embedding", {"'embed_tokens'", "train without it"}},
    {"ia3", {"peft_type", "IA3", "supported: LORA"}},
    {"prompt-tuning", {"peft_type", "PROMPT_TUNING", "supported: LORA"}},
    {"trained-embedding", {"model.embed_tokens.weight", "save_embedding_layers=False"}},
    {"rank-0", {"'r' is 0", "from 1 to"}},
    {"rank-negative-in-pattern", {"rank_pattern: q_proj", "-2", "from 1 to"}},
    {"rank-is-text", {"'r' is a string", "must be an integer"}},
    {"rank-differs", {"has rank 2", "says 4 ('r')"}},
    {"alpha-is-text", {"'lora_alpha' is a string", "must be a number"}},
    {"unknown-target", {"'target_modules' names no module", "it has q_proj"}},
    {"bad-regex", {"'target_modules'", "'(q_proj'", "missing closing parenthesis"}},
    {"layer-out-of-range", {"'layers_to_transform' names layer 7", "0 to 1"}},
    {"other-model", {"[128, 2]", "must have [64, 2]", "another base model", "tests/qwen3"}},
    {"config-is-not-json", {"adapter_config.json is not valid JSON"}},
    {"config-is-missing", {"has no adapter_config.json", "save_pretrained"}},
    {"config-is-a-list", {"adapter_config.json is a list", "must be a JSON object"}},
    {"nan", {"layers.0.self_attn.q_proj.lora_B.weight", "NaN or infinity", "element 3"}},
    {"infinity", {"layers.0.self_attn.q_proj.lora_A.weight", "NaN or infinity", "element 3"}},
    {"wrong-shape", {"q_proj.lora_B.weight", "must have [64, 2]", "transposed"}},
    {"wrong-dimensions", {"[1, 2, 64]", "must have [2, 64]", "matrices"}},
    {"missing-tensor", {"layers.0.self_attn.q_proj.lora_B.weight' is missing"}},
    {"missing-module", {"layers.1.self_attn.v_proj.lora_A.weight' is missing"}},
    {"unexpected-tensor", {"of layer 9", "has 2 layers"}},
    {"unexpected-name", {"'something.else' is unexpected", "names look like"}},
    {"integers", {"stored as I32", "supported: F32, F16, BF16"}},
    {"no-tensors", {"no tensors", "save the adapter again"}},
    {"truncated", {"lora_B.weight' lies at bytes", "corrupt"}},
    {"truncated-header", {"announces a header of 1016 bytes", "cut short"}},
    {"header-too-long", {"announces a header of", "corrupt or no safetensors file"}},
    {"weights-are-missing", {"has no adapter_model.safetensors", "save_pretrained"}},
    {"pickle-only", {"adapter_model.bin", "convert it to safetensors"}},
};

TEST(ReferenceFiles, EveryBadAdapterIsRefusedWithItsReason) {
  const std::string root = kData + "/adapters-refused";
  const std::vector<std::string> names = Folders(root);
  ASSERT_GE(names.size(), 40u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const ModelConfig model = BaseConfig(BaseModelOf(root + "/refused.json", name));
    auto adapter = OpenAdapter(LocalFiles(), root + "/" + name, model, AdapterLimits{});
    const Status status =
        adapter.ok() ? ReadWhole(*adapter, model.layers) : Status(adapter.error());
    ASSERT_FALSE(status.ok());
    const auto wanted = kRefusals.find(name);
    ASSERT_NE(wanted, kRefusals.end()) << status.error().message;
    for (const std::string& part : wanted->second) {
      EXPECT_THAT(status.error().message, HasSubstr(part));
    }
  }
}

}  // namespace
}  // namespace weft::checkpoint
