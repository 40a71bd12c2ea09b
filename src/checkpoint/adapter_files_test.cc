// Adapters written here: what is checked against the base model, and how their weights are read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/file.h"
#include "checkpoint/adapter_reads.h"
#include "checkpoint/module_selection.h"
#include "checkpoint/peft_adapter.h"
#include "checkpoint/write_safetensors.h"

namespace weft::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig TinyModel() {
  ModelConfig model;
  model.name = "SmolLM2-135M-Instruct.Q4_1.gguf";
  model.hidden = 64;
  model.intermediate = 96;
  model.layers = 12;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 16;
  return model;
}

/// A folder with an adapter, in a fresh temporary place.
class AdapterFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "weft_adapter_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    WriteConfig(R"("r": 4, "lora_alpha": 8, "target_modules": ["q_proj"])");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void WriteConfig(const std::string& fields) {
    std::ofstream(folder_ + "/adapter_config.json") << R"({"peft_type": "LORA", )" << fields << "}";
  }

  void AddModule(int32_t layer, Projection projection, int64_t rank,
                 StoredType type = StoredType::kF32) {
    const ModelConfig model = TinyModel();
    const std::string name = "base_model.model." + ModuleName(LayerIndex(layer), projection);
    tensors_.push_back({name + ".lora_A.weight", type, {rank, model.InputSize(projection)}});
    tensors_.push_back({name + ".lora_B.weight", type, {model.OutputSize(projection), rank}});
  }
  void AddQueries(int64_t rank, StoredType type = StoredType::kF32) {
    for (int32_t layer = 0; layer < TinyModel().layers; ++layer) {
      AddModule(layer, Projection::kQ, rank, type);
    }
  }

  /// Element i of tensor t has the value t + i / 1000, which `change` may then alter.
  void WriteWeights(const std::function<float(size_t, size_t, float)>& change = nullptr) {
    auto writer = SafetensorsWriter::Create(folder_ + "/adapter_model.safetensors", tensors_,
                                            {{"format", "pt"}});
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    for (size_t t = 0; t < tensors_.size(); ++t) {
      std::vector<float> values;
      for (int64_t i = 0; i < tensors_[t].shape[0] * tensors_[t].shape[1]; ++i) {
        const float value = Value(t, static_cast<size_t>(i));
        values.push_back(change ? change(t, static_cast<size_t>(i), value) : value);
      }
      ASSERT_TRUE(writer->AppendFloats(values).ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }
  static float Value(size_t tensor, size_t element) {
    return static_cast<float>(tensor) + static_cast<float>(element) / 1000.0F;
  }

  Result<AdapterFiles> Open(const AdapterLimits& limits = {}) {
    return OpenAdapter(LocalFiles(), folder_, TinyModel(), limits);
  }
  std::string ErrorOfOpen(const AdapterLimits& limits = {}) {
    auto adapter = Open(limits);
    EXPECT_FALSE(adapter.ok());
    return adapter.ok() ? "" : adapter.error().message;
  }

  std::string folder_;
  std::vector<TensorInfo> tensors_;
};

TEST_F(AdapterFolder, ModulesComeByLayerWhateverTheFilesOrder) {
  WriteConfig(R"("r": 4, "lora_alpha": 8, "target_modules": ["down_proj", "q_proj"],
                 "layers_to_transform": [2, 10])");
  AddModule(10, Projection::kQ, 4);
  AddModule(2, Projection::kDown, 4);
  AddModule(10, Projection::kDown, 4);
  AddModule(2, Projection::kQ, 4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  std::vector<std::string> names;
  for (const AdapterModule& module : adapter->modules) {
    names.push_back(ModuleName(module.layer, module.projection));
    EXPECT_EQ(module.rank, 4);
    EXPECT_EQ(module.scaling, 2.0F);
  }
  EXPECT_THAT(names,
              ElementsAre("model.layers.2.self_attn.q_proj", "model.layers.2.mlp.down_proj",
                          "model.layers.10.self_attn.q_proj", "model.layers.10.mlp.down_proj"));
  EXPECT_EQ(adapter->max_rank, 4);
  EXPECT_EQ(adapter->file_bytes,
            static_cast<Bytes>(std::filesystem::file_size(adapter->weights_path)));
  EXPECT_EQ(adapter->weights_stamp.size, adapter->file_bytes);
  // Layer 2's modules lie apart, with 1.25 KiB of layer 10 between them: still one read.
  EXPECT_EQ(PlanLayerReads(*adapter, LayerIndex(2)).size(), 1u);
  EXPECT_TRUE(PlanLayerReads(*adapter, LayerIndex(3)).empty());
}

TEST_F(AdapterFolder, LayersThatLieFarApartAreReadApart) {
  WriteConfig(
      R"("r": 256, "target_modules": ["q_proj", "down_proj"], "layers_to_transform": [0, 1])");
  AddModule(0, Projection::kQ, 256);
  AddModule(1, Projection::kQ, 256);
  AddModule(1, Projection::kDown, 256);
  AddModule(0, Projection::kDown, 256);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  const std::vector<ReadRange> first = PlanLayerReads(*adapter, LayerIndex(0));
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(first[0].parts.size(), 2u);
  EXPECT_EQ(first[0].size, 2 * 256 * 64 * 4);
  EXPECT_EQ(PlanLayerReads(*adapter, LayerIndex(1)).size(), 1u);
}

TEST_F(AdapterFolder, ReadModuleGivesTheStoredValues) {
  for (StoredType type : {StoredType::kF32, StoredType::kF16, StoredType::kBF16}) {
    tensors_.clear();
    AddQueries(4, type);
    WriteWeights([](size_t, size_t i, float) { return static_cast<float>(i % 64) / 8.0F; });
    auto adapter = Open();
    ASSERT_TRUE(adapter.ok()) << adapter.error().message;
    auto file = LocalFiles().Open(adapter->weights_path);
    std::vector<float> a(4 * 64);
    std::vector<float> b(64 * 4);
    ASSERT_TRUE(ReadModule(**file, adapter->modules[7], a, b).ok());
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i], static_cast<float>(i % 64) / 8.0F);
      ASSERT_EQ(b[i], a[i]);
    }
  }
}

TEST_F(AdapterFolder, ALayersRangesHoldItsTensors) {
  AddQueries(4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok());
  auto file = LocalFiles().Open(adapter->weights_path);
  for (int32_t layer = 0; layer < 12; ++layer) {
    const std::vector<ReadRange> ranges = PlanLayerReads(*adapter, LayerIndex(layer));
    ASSERT_EQ(ranges.size(), 1u);
    std::vector<std::byte> buffer(static_cast<size_t>(ranges[0].size) + 5);
    ASSERT_TRUE(ReadRaw(**file, ranges[0], buffer).ok());
    for (const RangePart& part : ranges[0].parts) {
      std::vector<float> values(256);
      ASSERT_TRUE(ConvertTensor(PartTensor(*adapter, part), PartBytes(*adapter, part, buffer),
                                std::span<float>(values))
                      .ok());
      const size_t tensor = 2 * static_cast<size_t>(layer) + (part.is_b ? 1 : 0);
      for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], Value(tensor, i));
    }
  }
}

TEST_F(AdapterFolder, NotFiniteValuesAreNamed) {
  const auto error_of = [&](float bad, bool to_bfloat16) {
    WriteWeights([&](size_t t, size_t i, float v) { return t == 3 && i == 130 ? bad : v; });
    auto adapter = Open();
    EXPECT_TRUE(adapter.ok());
    auto file = LocalFiles().Open(adapter->weights_path);
    std::vector<float> a(256);
    std::vector<float> b(256);
    if (!to_bfloat16) return ReadModule(**file, adapter->modules[1], a, b).error().message;
    const TensorRef& tensor = adapter->modules[1].b;
    std::vector<std::byte> raw(static_cast<size_t>(tensor.size));
    EXPECT_TRUE((*file)->Read(tensor.offset, raw).ok());
    std::vector<BFloat16> narrow(256);
    return ConvertTensor(tensor, raw, std::span<BFloat16>(narrow)).error().message;
  };
  AddQueries(4);
  const std::string where =
      "layers.1.self_attn.q_proj.lora_B.weight' has NaN or infinity at row 32, column 2 (element "
      "130)";
  EXPECT_THAT(error_of(NAN, false), HasSubstr(where));
  EXPECT_THAT(error_of(-INFINITY, false), HasSubstr(where));
  EXPECT_THAT(error_of(NAN, true), HasSubstr(where));
  EXPECT_THAT(error_of(3.4e38F, true),
              HasSubstr("that bfloat16 cannot hold; serve it with --dtype"));
}

TEST_F(AdapterFolder, AFileCutShortIsAnErrorWhileReading) {
  AddQueries(4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok());
  std::filesystem::resize_file(adapter->weights_path, adapter->file_bytes / 2);
  auto file = LocalFiles().Open(adapter->weights_path);
  std::vector<float> a(256);
  const Status status = ReadModule(**file, adapter->modules.back(), a, a);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("corrupt"));
}

TEST_F(AdapterFolder, WeightsThatChangedAreNotOpened) {
  AddQueries(4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok());
  EXPECT_TRUE(OpenAdapterWeights(LocalFiles(), *adapter).ok());
  std::filesystem::last_write_time(
      adapter->weights_path,
      std::filesystem::last_write_time(adapter->weights_path) + std::chrono::milliseconds(5));
  auto changed = OpenAdapterWeights(LocalFiles(), *adapter);
  ASSERT_FALSE(changed.ok());
  EXPECT_THAT(changed.error().message, HasSubstr("has changed since it was checked"));
  std::filesystem::remove(adapter->weights_path);
  EXPECT_EQ(OpenAdapterWeights(LocalFiles(), *adapter).error().code, ErrorCode::kNotFound);
}

TEST_F(AdapterFolder, APipeInPlaceOfAFileIsRefusedAtOnce) {
  AddQueries(4);
  WriteWeights();
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"}) {
    std::filesystem::remove(folder_ + "/" + name);
    ASSERT_EQ(::mkfifo((folder_ + "/" + name).c_str(), 0600), 0);
    EXPECT_THAT(ErrorOfOpen(), HasSubstr("is not a regular file"));
  }
}

TEST_F(AdapterFolder, TheServersLimitsAreKept) {
  AddQueries(4);
  WriteWeights();
  AdapterLimits limits;
  limits.max_rank = 3;
  EXPECT_THAT(ErrorOfOpen(limits), HasSubstr("has rank 4, but the server takes at most 3; start it "
                                             "with --max-lora-rank 4"));
  limits.max_rank = 4;
  EXPECT_TRUE(Open(limits).ok());
  limits.allowed[static_cast<size_t>(Projection::kQ)] = false;
  EXPECT_THAT(ErrorOfOpen(limits),
              HasSubstr("adapters of q_proj; add it to --lora-target-modules"));
}

TEST_F(AdapterFolder, AnotherBaseModelIsAWarning) {
  AddQueries(4);
  WriteWeights();
  const auto warnings = [&](const std::string& base) {
    WriteConfig(fmt::format(R"("r": 4, "target_modules": ["q_proj"],
                               "base_model_name_or_path": "{}")",
                            base));
    auto adapter = Open();
    EXPECT_TRUE(adapter.ok());
    return adapter->warnings;
  };
  EXPECT_TRUE(warnings("HuggingFaceTB/SmolLM2-135M-Instruct").empty());
  EXPECT_TRUE(warnings("/models/smollm2-135m-instruct/").empty());
  EXPECT_TRUE(warnings("").empty());
  EXPECT_THAT(warnings("meta-llama/Llama-3.1-8B"),
              ElementsAre(HasSubstr("made for the base model 'meta-llama/Llama-3.1-8B'")));
}

TEST_F(AdapterFolder, TensorsThatAreNoPairsAreExplained) {
  const std::pair<const char*, const char*> cases[] = {
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"},
      {"base_model.model.model.embed_tokens.lora_embedding_A", "trained embedding"},
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "lora_bias=False"},
      {"base_model.model.lm_head.weight", "whole output matrix"},
      {"base_model.model.lm_head.lora_A.weight", "adapter of lm_head"},
      {"base_model.model.model.layers.0.mlp.experts.3.up_proj.lora_A.weight", "mixture of experts"},
      {"base_model.model.model.layers.0.self_attn.q_proj.bias", "trained bias"},
      {"base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight", "is unexpected"},
      {"base_model.model.model.layers.0.mlp.q_proj.lora_A.weight", "is unexpected"},
      {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", "is unexpected"},
      {"model.layers.0.self_attn.q_proj.lora_A.weight", "is unexpected"},
  };
  for (const auto& [name, text] : cases) {
    tensors_.clear();
    AddQueries(4);
    tensors_.push_back({name, StoredType::kF32, {1, 1}});
    WriteWeights();
    EXPECT_THAT(ErrorOfOpen(), HasSubstr(text)) << name;
  }
}

TEST_F(AdapterFolder, LayersBeyondTheModelAreAWarningWhenOthersRemain) {
  WriteConfig(R"("r": 4, "target_modules": ["q_proj", "c_attn"], "layers_to_transform": [1, 40])");
  AddModule(1, Projection::kQ, 4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  EXPECT_THAT(adapter->warnings,
              ElementsAre(HasSubstr("'c_attn', which is no module"), HasSubstr("names layer 40")));
}

TEST_F(AdapterFolder, TargetsMayBeLeftToTheTensors) {
  WriteConfig(R"("r": 4, "target_modules": null)");
  AddModule(3, Projection::kUp, 4);
  WriteWeights();
  auto adapter = Open();
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  EXPECT_EQ(adapter->modules.size(), 1u);
}

TEST_F(AdapterFolder, ByItselfItsSizesAndLayersAreAnybodys) {
  WriteConfig(R"("r": 4, "target_modules": ["q_proj"], "layers_to_transform": [2000000000])");
  const std::string name = "base_model.model.model.layers.2000000000.self_attn.q_proj";
  tensors_.push_back({name + ".lora_A.weight", StoredType::kF32, {4, 7}});
  tensors_.push_back({name + ".lora_B.weight", StoredType::kF32, {9, 4}});
  WriteWeights();
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("another base model"));
  auto adapter = OpenAdapterByItself(LocalFiles(), folder_, {});
  ASSERT_TRUE(adapter.ok()) << adapter.error().message;
  ASSERT_EQ(adapter->modules.size(), 1u);
  EXPECT_EQ(adapter->modules[0].a.columns, 7);
  EXPECT_EQ(adapter->modules[0].b.rows, 9);
  EXPECT_EQ(adapter->max_rank, 4);
}

TEST_F(AdapterFolder, ByItselfRanksPairsAndMatricesAreChecked) {
  const auto error = [this] {
    WriteWeights();
    auto adapter = OpenAdapterByItself(LocalFiles(), folder_, {});
    return adapter.ok() ? std::string() : adapter.error().message;
  };
  const std::string name = "base_model.model.model.layers.0.self_attn.q_proj";
  tensors_ = {{name + ".lora_A.weight", StoredType::kF32, {4, 7}}};
  EXPECT_THAT(error(), HasSubstr("q_proj.lora_B.weight' is missing"));
  tensors_.push_back({name + ".lora_B.weight", StoredType::kF32, {9, 2}});
  EXPECT_THAT(error(), HasSubstr("has rank 2, but adapter_config.json says 4 ('r')"));
  tensors_[1].shape = {9, 4, 1};
  EXPECT_THAT(error(),
              HasSubstr("shape [9, 4, 1]: lora_A and lora_B of a projection are matrices"));
}

TEST_F(AdapterFolder, AMissingFolderIsNamed) {
  std::filesystem::remove_all(folder_);
  auto adapter = Open();
  ASSERT_FALSE(adapter.ok());
  EXPECT_EQ(adapter.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(adapter.error().message, HasSubstr("there is no adapter folder"));
}

}  // namespace
}  // namespace weft::checkpoint
