#include "cli/make_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <filesystem>

#include "base/file.h"
#include "checkpoint/config_json.h"
#include "checkpoint/model_files.h"
#include "checkpoint/peft_adapter.h"
#include "cli/make_model.h"

namespace weft::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class MakeCommandTest : public ::testing::Test {
 protected:
  MakeCommandTest() : folder_(::testing::TempDir() + "make_command_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~MakeCommandTest() override { std::filesystem::remove_all(folder_); }

  int Weft(std::vector<std::string> arguments) {
    CLI::App weft;
    int exit_code = -1;
    RegisterMakeCommand(weft, exit_code);
    std::reverse(arguments.begin(), arguments.end());
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    try {
      weft.parse(arguments);
    } catch (const CLI::ParseError&) {
      exit_code = 2;
    }
    ::testing::internal::GetCapturedStdout();
    errors_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }

  std::vector<std::string> Model(const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> flags = {"make",
                                      "model",
                                      folder_ + "/" + name,
                                      "--like",
                                      "llama-3.1-8b",
                                      "--layers",
                                      "2",
                                      "--hidden",
                                      "64",
                                      "--heads",
                                      "4",
                                      "--kv-heads",
                                      "2",
                                      "--intermediate",
                                      "96",
                                      "--vocab",
                                      "300"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  std::string folder_;
  std::string errors_;
};

/// A tensor's mean and deviation.
std::pair<double, double> Moments(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += value;
    squares += double{value} * value;
  }
  const auto count = static_cast<double>(values.size());
  return {sum / count, std::sqrt(squares / count)};
}

TEST_F(MakeCommandTest, ModelLoadsAndItsWeightsHaveTheirDeviation) {
  ASSERT_EQ(Weft(Model("m")), 0) << errors_;
  const auto model = checkpoint::OpenModel(LocalFiles(), folder_ + "/m");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->config.head_dim, 16);
  EXPECT_EQ(model->config.rope.scaling, RopeScaling::kLlama3);
  EXPECT_THAT(model->config.end_tokens, IsEmpty()) << "beyond the small vocabulary";
  const auto* tensor = model->tensors->Find("model.embed_tokens.weight");
  ASSERT_NE(tensor, nullptr);
  std::vector<float> values(300 * 64);
  ASSERT_TRUE(model->tensors->ReadRows(*tensor, 0, 300, values).ok());
  const auto [mean, deviation] = Moments(values);
  EXPECT_NEAR(mean, 0, 0.0005);
  EXPECT_NEAR(deviation, 0.02, 0.0005);
  const auto* norm = model->tensors->Find("model.norm.weight");
  std::vector<float> ones(64);
  ASSERT_TRUE(model->tensors->ReadRows(*norm, 0, 1, ones).ok());
  EXPECT_EQ(ones, std::vector<float>(64, 1.0F));
}

TEST_F(MakeCommandTest, TheSeedDecidesTheBytes) {
  ASSERT_EQ(Weft(Model("a")), 0);
  ASSERT_EQ(Weft(Model("b")), 0);
  ASSERT_EQ(Weft(Model("c", {"--seed", "2"})), 0);
  const auto bytes = [&](const std::string& name) {
    return *LocalFiles().ReadText(folder_ + "/" + name + "/model.safetensors");
  };
  EXPECT_EQ(bytes("a"), bytes("b"));
  EXPECT_NE(bytes("a"), bytes("c"));
}

TEST_F(MakeCommandTest, LargeModelsAreCutIntoShardsThatLoad) {
  MakeModelOptions options;
  options.folder = folder_ + "/s";
  options.config = *KnownModel("qwen2.5-7b");
  options.config.layers = 2;
  options.config.hidden = 64;
  options.config.intermediate = 96;
  options.config.heads = 4;
  options.config.kv_heads = 2;
  options.config.head_dim = 16;
  options.config.vocabulary = 200000;
  options.max_shard_bytes = 26'000'000;
  ASSERT_TRUE(MakeModel(options).ok());
  EXPECT_TRUE(std::filesystem::exists(options.folder + "/model-00002-of-00002.safetensors"));
  const auto model = checkpoint::OpenModel(LocalFiles(), options.folder);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_TRUE(model->config.qkv_bias);
  const auto* tensor = model->tensors->Find("lm_head.weight");
  ASSERT_NE(tensor, nullptr);
  std::vector<float> row(64);
  EXPECT_TRUE(model->tensors->ReadRows(*tensor, 199999, 1, row).ok());
}

TEST_F(MakeCommandTest, KnownModelsReadBackAsTheyAre) {
  for (const std::string& name : KnownModelNames()) {
    const ModelConfig known = *KnownModel(name);
    const auto parsed =
        checkpoint::ParseConfigJson(ConfigJson(known, checkpoint::StoredType::kBF16), "");
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(parsed->architecture, known.architecture) << name;
    EXPECT_EQ(parsed->hidden, known.hidden) << name;
    EXPECT_EQ(parsed->rope.theta, known.rope.theta) << name;
    EXPECT_EQ(parsed->rope.scaling, known.rope.scaling) << name;
    EXPECT_EQ(parsed->rms_epsilon, known.rms_epsilon) << name;
    EXPECT_EQ(parsed->qkv_bias, known.qkv_bias) << name;
    EXPECT_EQ(parsed->qk_norm, known.qk_norm) << name;
    EXPECT_EQ(parsed->tied_embeddings, known.tied_embeddings) << name;
    EXPECT_EQ(parsed->end_tokens, known.end_tokens) << name;
  }
}

TEST_F(MakeCommandTest, AdaptersPassTheServersChecks) {
  ASSERT_EQ(Weft(Model("m")), 0) << errors_;
  const auto model = checkpoint::OpenModelConfigOnly(LocalFiles(), folder_ + "/m");
  for (const std::string dtype : {"float32", "float16", "bfloat16"}) {
    const std::string root = folder_ + "/" + dtype;
    ASSERT_EQ(Weft({"make", "adapter", root, "--model", folder_ + "/m/config.json", "--rank", "8",
                    "--alpha", "12.5", "--rslora", "--dtype", dtype, "--count", "2", "--name", "x",
                    "--target-modules", "q_proj,down_proj"}),
              0)
        << errors_;
    const auto adapter = checkpoint::OpenAdapter(LocalFiles(), root + "/x-1", model->config, {});
    ASSERT_TRUE(adapter.ok()) << adapter.error().message;
    ASSERT_THAT(adapter->modules, SizeIs(4));
    EXPECT_NEAR(adapter->modules[0].scaling, 12.5 / std::sqrt(8.0), 1e-6);
    const checkpoint::AdapterModule& down = adapter->modules[1];
    EXPECT_EQ(down.projection, Projection::kDown);
    std::vector<float> a(8 * 96);
    std::vector<float> b(64 * 8);
    const auto file = LocalFiles().Open(adapter->weights_path);
    ASSERT_TRUE(checkpoint::ReadModule(**file, down, a, b).ok());
    EXPECT_NEAR(Moments(a).second, 1 / std::sqrt(3.0 * 96), 0.005);
    const double wanted =
        0.1 * 0.02 * std::sqrt(96.0) / (12.5 / std::sqrt(8.0) * std::sqrt(8 / 3.0));
    EXPECT_NEAR(Moments(b).second, wanted, wanted * 0.1);
  }
}

TEST_F(MakeCommandTest, WrongFlagsExitWith2) {
  EXPECT_EQ(Weft({"make"}), 2);
  EXPECT_EQ(Weft({"make", "model", folder_ + "/m"}), 2);
  EXPECT_THAT(errors_, HasSubstr("name --like (llama-3.1-8b, smollm2-135m, qwen2.5-7b, qwen3-8b)"));
  EXPECT_EQ(Weft({"make", "model", folder_ + "/m", "--like", "gpt"}), 2);
  EXPECT_EQ(Weft({"make", "adapter", folder_, "--model", "x", "--target-modules", "lm_head"}), 2);
  EXPECT_THAT(errors_, HasSubstr("--target-modules lm_head: must be q_proj"));
}

TEST_F(MakeCommandTest, NothingIsOverwrittenOrWrittenWhereItCannotBe) {
  ASSERT_EQ(Weft(Model("m")), 0);
  EXPECT_EQ(Weft(Model("m")), 1);
  EXPECT_THAT(errors_, HasSubstr("/m already holds a model"));
  EXPECT_EQ(Weft(Model("n", {"--tokenizer", "/nowhere"})), 1);
  EXPECT_THAT(errors_, HasSubstr("--tokenizer /nowhere"));
  EXPECT_EQ(Weft(Model("o", {"--head-dim", "7"})), 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/o"));
}

// A limit on the size of files stands in for a disk that is full.
TEST_F(MakeCommandTest, AFullDiskIsAnErrorThatNamesTheFileAndLeavesNoneBehind) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 40'000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const int exit_code = Weft(Model("m"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(exit_code, 1);
  EXPECT_THAT(errors_, HasSubstr("/m/model.safetensors"));
  EXPECT_THAT(errors_, HasSubstr("File too large"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/m"));
}

}  // namespace
}  // namespace weft::cli
