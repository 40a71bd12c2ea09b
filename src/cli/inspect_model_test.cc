// Inspecting models says what serving takes and refuses.
#include "cli/inspect_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"
#include "cli/model_text.h"
#include "cli/served_shape.h"
#include "model/transformer.h"

namespace weft::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kData = SourceFolder() + "/tests/data";

std::vector<std::string> Models() {
  std::vector<std::string> paths;
  for (const char* folder : {"/models", "/gguf"}) {
    for (const auto& entry : std::filesystem::directory_iterator(kData + folder)) {
      const bool is_blocks = entry.path().filename() == "blocks.gguf";  // Tensors without a model.
      if (entry.is_directory() || (entry.path().extension() == ".gguf" && !is_blocks))
        paths.push_back(entry.path().string());
    }
  }
  return paths;
}

std::string JsonOf(const Inspection& inspection, const std::string& key) {
  for (const Fact& fact : inspection.facts)
    if (fact.key == key) return fact.json;
  return "absent";
}

/// A copy of tests/data/models/llama to be broken.
class BrokenModel : public ::testing::Test {
 protected:
  BrokenModel() : folder_(::testing::TempDir() + "inspect_model_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::copy(kData + "/models/llama", folder_);
  }
  ~BrokenModel() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  void Replace(const std::string& name, const std::string& from, const std::string& to) {
    std::string text = *LocalFiles().ReadText(folder_ + "/" + name);
    ASSERT_NE(text.find(from), text.npos);
    Write(name, text.replace(text.find(from), from.size(), to));
  }
  /// The reason is the one that `served` has.
  void ExpectRefusal(const std::string& served) {
    const Inspection inspection = InspectModel(LocalFiles(), folder_, DType::kBFloat16, false);
    EXPECT_EQ(inspection.verdict, Verdict::kNo);
    EXPECT_EQ(inspection.reason, served);
  }
  std::string ErrorOfOpening() {
    auto opened = checkpoint::OpenModel(LocalFiles(), folder_);
    EXPECT_FALSE(opened.ok());
    return opened.ok() ? "" : opened.error().message;
  }

  const std::string folder_;
};

TEST(InspectModel, EveryModelOfTheTestsWouldLoad) {
  ASSERT_GE(Models().size(), 10u);
  for (const std::string& path : Models()) {
    const Inspection inspection = InspectModel(LocalFiles(), path, DType::kBFloat16, false);
    EXPECT_EQ(inspection.verdict, Verdict::kYes) << path << ": " << inspection.reason;
    EXPECT_THAT(inspection.not_checked, Contains(HasSubstr("--full")));
    EXPECT_EQ(JsonOf(inspection, "loaded_weight_bytes"), "absent");
  }
}

TEST(InspectModel, WeightsTakeWhatWasSaidBeforeTheyWereRead) {
  for (const std::string& path : Models()) {
    const Inspection inspection = InspectModel(LocalFiles(), path, DType::kFloat32, true);
    EXPECT_EQ(inspection.verdict, Verdict::kYes) << path << ": " << inspection.reason;
    EXPECT_EQ(JsonOf(inspection, "weight_bytes"), JsonOf(inspection, "loaded_weight_bytes"))
        << path;
    EXPECT_THAT(inspection.not_checked, Not(Contains(HasSubstr("--full"))));
  }
}

TEST(InspectModel, SaysShapeFilesAndPages) {
  const Inspection model =
      InspectModel(LocalFiles(), kData + "/models/llama-sharded", DType::kBFloat16, false);
  EXPECT_EQ(JsonOf(model, "architecture"), "\"llama\"");
  EXPECT_EQ(JsonOf(model, "parameters"), "96576");
  EXPECT_EQ(JsonOf(model, "vocabulary"), "272");
  EXPECT_EQ(JsonOf(model, "kv_heads"), "2");
  Bytes bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData + "/models/llama-sharded"))
    if (entry.path().extension() == ".safetensors") bytes += static_cast<Bytes>(entry.file_size());
  EXPECT_EQ(JsonOf(model, "file_bytes"), std::to_string(bytes));
  // K and V of 2 layers, 2 heads of 16, 2 bytes each; a page has 16 tokens of it.
  EXPECT_EQ(JsonOf(model, "kv_bytes_per_token"), "256");
  EXPECT_EQ(JsonOf(model, "page_bytes"), "4096");
  EXPECT_EQ(JsonOf(model, "tokens_per_gib"), "4194304");
  EXPECT_EQ(JsonOf(model, "tokenizer"), "true");
  EXPECT_EQ(JsonOf(model, "chat_template"), "true");
}

TEST(InspectModel, StoredTypesAreThoseOfTheFile) {
  const Inspection model =
      InspectModel(LocalFiles(), kData + "/gguf/llama.gguf", DType::kBFloat16, false);
  EXPECT_THAT(JsonOf(model, "stored_types"), HasSubstr("\"Q4_1\":"));
  EXPECT_EQ(JsonOf(model, "format"), "\"gguf\"");
  EXPECT_EQ(JsonOf(model, "file_bytes"),
            std::to_string(std::filesystem::file_size(kData + "/gguf/llama.gguf")));
}

TEST(InspectModel, APageHoldsTheLargestTileOfAnAdapter) {
  auto model = checkpoint::OpenModelConfigOnly(LocalFiles(), kData + "/models/llama");
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(ServedPages(model->config, DType::kBFloat16).tokens_per_page, 16);
  model->config.intermediate = 1024;  // A tile of 16 ranks takes 32 KiB.
  EXPECT_EQ(ServedPages(model->config, DType::kBFloat16).page_bytes, 32 * kKiB);
  EXPECT_EQ(ServedPages(model->config, DType::kBFloat16).tokens_per_page, 128);
}

TEST_F(BrokenModel, FilesThatDoNotOpenAreRefusedAsServingDoes) {
  std::filesystem::resize_file(folder_ + "/model.safetensors", 3000);
  EXPECT_THAT(ErrorOfOpening(), HasSubstr("corrupt"));
  ExpectRefusal(ErrorOfOpening());
}

TEST_F(BrokenModel, AShapeThatIsNotTheConfigsIsRefusedAsServingDoes) {
  Replace("config.json", "\"head_dim\": 16", "\"head_dim\": 32");
  EXPECT_THAT(ErrorOfOpening(), HasSubstr("but the config asks for"));
  ExpectRefusal(ErrorOfOpening());
  const Inspection inspection = InspectModel(LocalFiles(), folder_, DType::kBFloat16, false);
  EXPECT_EQ(JsonOf(inspection, "head_dim"), "32") << "what the config says is still said";
}

TEST_F(BrokenModel, ATokenizerThatServingRefusesIsRefused) {
  Write("tokenizer.json", "junk");
  auto model = checkpoint::OpenModel(LocalFiles(), folder_);
  ASSERT_TRUE(model.ok());
  auto text = LoadModelText(LocalFiles(), *model, "", "");
  ASSERT_FALSE(text.ok());
  ExpectRefusal(text.error().message);
  std::filesystem::remove(folder_ + "/tokenizer.json");
  const Inspection none = InspectModel(LocalFiles(), folder_, DType::kBFloat16, false);
  EXPECT_THAT(none.reason, HasSubstr("has no tokenizer.json"));
  EXPECT_EQ(JsonOf(none, "tokenizer"), "false");
  EXPECT_NE(JsonOf(none, "page_bytes"), "absent") << "sizes are said all the same";
}

TEST_F(BrokenModel, AShapeThatTheBackendRefusesIsRefusedAsServingDoes) {
  // Both sizes stay 64 together, and so do all tensors.
  Replace("config.json", "\"head_dim\": 16", "\"head_dim\": 8");
  Replace("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 8");
  Replace("config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4");
  auto model = checkpoint::OpenModel(LocalFiles(), folder_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto device = device::CreateCpuDevice();
  auto served = model::Transformer::Create(model->config, model->tensors.get(), *device, {});
  ASSERT_FALSE(served.ok());
  EXPECT_THAT(served.error().message, HasSubstr("head_dim is 8"));
  ExpectRefusal(served.error().message);
}

TEST_F(BrokenModel, AChatTemplateThatDoesNotCompileIsAWarning) {
  Write("chat_template.jinja", "{% if");
  const Inspection inspection = InspectModel(LocalFiles(), folder_, DType::kBFloat16, false);
  EXPECT_EQ(inspection.verdict, Verdict::kYes);
  EXPECT_THAT(inspection.warnings, Contains(HasSubstr("/v1/chat/completions will not work")));
  EXPECT_EQ(JsonOf(inspection, "chat_template"), "false");
}

}  // namespace
}  // namespace weft::cli
