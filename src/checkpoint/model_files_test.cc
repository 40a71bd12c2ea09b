// Model folders written here: indexes, missing and misshapen tensors, the Hugging Face cache.
#include "checkpoint/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "checkpoint/required_tensors.h"
#include "checkpoint/write_safetensors.h"

namespace weft::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] =
    R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10, "eos_token_id": 3})";

class ModelFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "weft_model_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    WriteText("config.json", kConfig);
    auto config = OpenModelConfigOnly(LocalFiles(), folder_);
    ASSERT_TRUE(config.ok()) << config.error().message;
    tensors_ = RequiredTensors(config->config);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void WriteText(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name) << text;
  }

  /// Every element of a tensor is its place in the list.
  void WriteTensors(const std::string& name, std::span<const TensorInfo> tensors) {
    auto writer = SafetensorsWriter::Create(folder_ + "/" + name,
                                            std::vector(tensors.begin(), tensors.end()), {});
    ASSERT_TRUE(writer.ok());
    for (size_t i = 0; i < tensors.size(); ++i) {
      int64_t elements = 1;
      for (int64_t size : tensors[i].shape) elements *= size;
      ASSERT_TRUE(writer
                      ->AppendFloats(
                          std::vector<float>(static_cast<size_t>(elements), static_cast<float>(i)))
                      .ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }

  std::string ErrorOfOpen() {
    auto model = OpenModel(LocalFiles(), folder_);
    EXPECT_FALSE(model.ok());
    return model.ok() ? "" : model.error().message;
  }

  std::string folder_;
  std::vector<TensorInfo> tensors_;
};

TEST_F(ModelFolder, ReadsRowsOfEveryTensor) {
  tensors_[1].type = StoredType::kBF16;
  tensors_[2].type = StoredType::kF16;
  WriteTensors("model.safetensors", tensors_);
  auto model = OpenModel(LocalFiles(), folder_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->tensors->Names().size(), tensors_.size());
  EXPECT_EQ(model->tensors->Find("nothing"), nullptr);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorInfo* tensor = model->tensors->Find(tensors_[i].name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->type, tensors_[i].type);
    const bool matrix = tensor->shape.size() == 2;
    std::vector<float> row(static_cast<size_t>(tensor->shape.back()));
    const int64_t last = matrix ? tensor->shape[0] - 1 : 0;
    ASSERT_TRUE(model->tensors->ReadRows(*tensor, last, 1, row).ok());
    for (float value : row) ASSERT_EQ(value, static_cast<float>(i));
  }
}

TEST_F(ModelFolder, MissingAndMisshapenTensorsAreNamed) {
  std::vector<TensorInfo> fewer = tensors_;
  fewer.erase(fewer.begin() + 4);
  fewer.pop_back();
  WriteTensors("model.safetensors", fewer);
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("tensor '" + tensors_[4].name +
                                       "' of shape [8, 8] is "
                                       "missing (and 1 more are missing or misshapen)"));
  std::vector<TensorInfo> other = tensors_;
  other[0].shape = {11, 8};
  WriteTensors("model.safetensors", other);
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("has shape [11, 8], but the config asks for [10, 8]"));
}

TEST_F(ModelFolder, TensorsWithoutUseAreNoted) {
  std::vector<TensorInfo> more = tensors_;
  more.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", StoredType::kF32, {2}});
  more.push_back({"visual.weight", StoredType::kF32, {2}});
  WriteTensors("model.safetensors", more);
  auto model = OpenModel(LocalFiles(), folder_);
  ASSERT_TRUE(model.ok());
  EXPECT_THAT(model->config.notes, ElementsAre(HasSubstr("1 tensors that this architecture does "
                                                         "not use are ignored, such as 'visual")));
}

TEST_F(ModelFolder, AnIndexIsFollowedAndChecked) {
  const std::span<const TensorInfo> all(tensors_);
  const size_t half = tensors_.size() / 2;
  WriteTensors("a.safetensors", all.first(half));
  WriteTensors("b.safetensors", all.subspan(half));
  const auto index = [&](const std::string& more, const std::string& second) {
    std::string map;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      map += fmt::format("{}\"{}\": \"{}\"", i == 0 ? "" : ",", tensors_[i].name,
                         i < half ? "a.safetensors" : second);
    }
    WriteText("model.safetensors.index.json", "{\"weight_map\": {" + map + more + "}}");
  };
  index("", "b.safetensors");
  auto model = OpenModel(LocalFiles(), folder_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->tensors->Names().size(), tensors_.size());

  index("", "c.safetensors");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("index.json names 'c.safetensors': cannot open"));
  index(", \"more\": \"a.safetensors\"", "b.safetensors");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("says that tensor 'more' is in 'a.safetensors', but it is "
                                       "not"));
  index("", "../b.safetensors");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("a file in the same folder"));
  WriteText("model.safetensors.index.json", "{}");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("'weight_map' is missing or empty"));
  WriteText("model.safetensors.index.json", "{");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("not valid JSON"));
}

TEST_F(ModelFolder, UnreadableDtypesAreNamed) {
  WriteTensors("model.safetensors", tensors_);
  std::fstream file(folder_ + "/model.safetensors", std::ios::in | std::ios::out);
  std::string text(2000, '\0');
  file.read(text.data(), 2000);
  file.clear();
  file.seekp(static_cast<std::streamoff>(text.find("\"F32\"")));
  file << "\"I32\"";
  file.close();
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("'model.embed_tokens.weight' is stored as I32, which is not "
                                       "supported"));
}

TEST_F(ModelFolder, SaysWhatAFolderLacks) {
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("neither model.safetensors nor"));
  WriteText("pytorch_model.bin", "x");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("convert its pytorch_model.bin"));
  std::filesystem::remove(folder_ + "/config.json");
  EXPECT_THAT(ErrorOfOpen(), HasSubstr("has no config.json"));
  EXPECT_FALSE(OpenModel(LocalFiles(), folder_ + "/absent.gguf").ok());
}

TEST_F(ModelFolder, NamesAreFoundInTheCache) {
  const std::string root = folder_ + "/hub";
  const auto resolve = [&](const std::string& name) {
    return ResolveModelPath(LocalFiles(), name, root);
  };
  EXPECT_EQ(*resolve(folder_), folder_);
  auto absent = resolve("org/name");
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(absent.error().message, HasSubstr("download it with `hf download org/name`"));

  WriteText("hub/models--org--name/refs/main", "abc123\n");
  EXPECT_FALSE(resolve("org/name").ok());
  WriteText("hub/models--org--name/snapshots/abc123/config.json", kConfig);
  auto found = resolve("org/name");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(*found, root + "/models--org--name/snapshots/abc123");
  EXPECT_EQ(OpenModelConfigOnly(LocalFiles(), *found)->config.name, "org/name");

  WriteText("hub/models--org--name/refs/main", "../../..");
  EXPECT_FALSE(resolve("org/name").ok());
  for (const char* bad : {"name", "a/b/c", "../name", "org/", "/absent/path", "or g/name"}) {
    auto result = resolve(bad);
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_THAT(result.error().message, HasSubstr("does not exist")) << bad;
  }
}

TEST(ModelCache, TheRootComesFromTheEnvironment) {
  ::setenv("HF_HUB_CACHE", "/a", 1);
  ::setenv("HF_HOME", "/b", 1);
  EXPECT_EQ(HuggingFaceCacheRoot(), "/a");
  ::unsetenv("HF_HUB_CACHE");
  EXPECT_EQ(HuggingFaceCacheRoot(), "/b/hub");
  ::unsetenv("HF_HOME");
  ::setenv("XDG_CACHE_HOME", "/c", 1);
  EXPECT_EQ(HuggingFaceCacheRoot(), "/c/huggingface/hub");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", "/d", 1);
  EXPECT_EQ(HuggingFaceCacheRoot(), "/d/.cache/huggingface/hub");
}

}  // namespace
}  // namespace weft::checkpoint
