// What transformers and PEFT compute for the models and adapters under tests/data, by the scripts
// in tests/reference.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"
#include "model/peft_on_disk.h"
#include "model/test_engine.h"

namespace weft::model {
namespace {

const std::string kData = SourceFolder() + "/tests/data";
constexpr int32_t kGreedyTokens = 12;

struct Prompt {
  std::vector<TokenId> ids;
  std::vector<double> prompt_logprobs;  ///< Of ids[1:].
  std::vector<double> last_logprobs;
  std::vector<double> bfloat16_last_logprobs;
  std::vector<TokenId> greedy;
};

template <typename T>
std::vector<T> Numbers(const simdjson::dom::element& array) {
  std::vector<T> values;
  for (const auto value : array.get_array()) values.push_back(static_cast<T>(double(value)));
  return values;
}

std::vector<Prompt> ReadPrompts(const std::string& path) {
  simdjson::dom::parser parser;
  std::vector<Prompt> prompts;
  for (const simdjson::dom::element entry : parser.load(path)["prompts"]) {
    Prompt prompt;
    prompt.ids = Numbers<TokenId>(entry["ids"]);
    prompt.prompt_logprobs = Numbers<double>(entry["float32"]["prompt_logprobs"]);
    prompt.last_logprobs = Numbers<double>(entry["float32"]["last_logprobs"]);
    prompt.greedy = Numbers<TokenId>(entry["greedy"]);
    simdjson::dom::element narrow;
    if (entry["bfloat16"].get(narrow) == simdjson::SUCCESS)
      prompt.bfloat16_last_logprobs = Numbers<double>(narrow["last_logprobs"]);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::string BaseModelOf(const std::string& adapter) {
  simdjson::dom::parser parser;
  return std::string(std::string_view(parser.load(adapter + "/expected.json")["base_model"]));
}

struct Variant {
  const char* kernels;
  DType dtype;
};

TransformerOptions Options(const Variant& variant) {
  TransformerOptions options;
  options.dtype = variant.dtype;
  options.deterministic = std::string(variant.kernels) == "deterministic";
  options.threads = 2;
  options.max_rows = 2048;
  return options;
}

/// One prompt to run, with or without an adapter.
struct Case {
  Prompt prompt;
  std::shared_ptr<const ops::AdapterTable> adapter;
  std::string name;
};

class GoldenTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (!UseKernels(GetParam().kernels)) GTEST_SKIP() << "runs on the other device";
  }
  DType dtype() const { return GetParam().dtype; }

  /// Compares a row of log-probabilities with the reference's.
  void ExpectRow(const ops::SampledToken& result, const std::vector<double>& expected) {
    ASSERT_EQ(result.top.size(), expected.size());
    double max = 0;
    for (const auto& [token, logprob] : result.top) {
      const double error = std::abs(logprob - expected[static_cast<size_t>(token)]);
      if (!(error <= max)) max = error;
      sum_ += error;
      ++count_;
    }
    if (dtype() == DType::kFloat32) {
      EXPECT_LT(max, 1e-3);
    }
  }

  /// Runs all cases as one batch, compares prompts and last rows, then decodes greedily.
  void RunCases(TestEngine& engine, const std::vector<Case>& cases, int32_t vocabulary) {
    std::vector<TestSequence> sequences(cases.size());
    std::vector<TestSequence*> pointers;
    std::vector<int32_t> rows;
    for (size_t i = 0; i < cases.size(); ++i) {
      sequences[i].tokens = cases[i].prompt.ids;
      sequences[i].adapter = cases[i].adapter;
      pointers.push_back(&sequences[i]);
      rows.push_back(static_cast<int32_t>(cases[i].prompt.ids.size()));
    }
    auto results = engine.Step(pointers, rows, vocabulary);
    size_t row = 0;
    std::vector<ops::SampledToken> last;
    for (size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(cases[i].name);
      const Prompt& prompt = cases[i].prompt;
      for (size_t t = 0; t + 1 < prompt.ids.size() && dtype() == DType::kFloat32; ++t)
        for (const auto& [token, logprob] : results[row + t].top)
          if (token == prompt.ids[t + 1]) {
            EXPECT_NEAR(logprob, prompt.prompt_logprobs[t], 1e-3);
          }
      row += prompt.ids.size();
      ExpectRow(results[row - 1], prompt.last_logprobs);
      last.push_back(results[row - 1]);
    }
    if (dtype() != DType::kFloat32) return;
    for (int32_t step = 0; step < kGreedyTokens; ++step) {
      for (size_t i = 0; i < cases.size(); ++i) {
        SCOPED_TRACE(cases[i].name);
        ASSERT_EQ(last[i].token, cases[i].prompt.greedy[static_cast<size_t>(step)]);
        sequences[i].tokens.push_back(last[i].token);
      }
      last = engine.Step(pointers, std::vector<int32_t>(cases.size(), 1), 0);
    }
  }

  /// In bfloat16 the mean distance from the float32 reference is held to transformers' own on the
  /// same base model, times `slack`. A GPU rounds what projections put out, as transformers does:
  /// it gets a quarter more, for the luck of so few numbers.
  void ExpectMean(const std::vector<Prompt>& base, double slack) const {
    if (dtype() == DType::kFloat32) return;
    if (device::TestsRunOnCuda()) slack *= 1.25;
    double sum = 0;
    int64_t count = 0;
    for (const Prompt& prompt : base)
      for (size_t i = 0; i < prompt.last_logprobs.size(); ++i, ++count)
        sum += std::abs(prompt.bfloat16_last_logprobs[i] - prompt.last_logprobs[i]);
    EXPECT_LT(sum_ / static_cast<double>(count_), slack * sum / static_cast<double>(count));
  }

  /// Runs the prompts of `expected` on the model alone.
  void RunModel(const std::string& path, const std::string& expected) {
    SCOPED_TRACE(path);
    auto files = checkpoint::OpenModel(LocalFiles(), path);
    ASSERT_TRUE(files.ok()) << files.error().message;
    TestEngine engine(files->config, files->tensors.get(), Options(GetParam()));
    std::vector<Case> cases;
    const std::vector<Prompt> prompts = ReadPrompts(expected);
    for (const Prompt& prompt : prompts) cases.push_back({prompt, nullptr, path});
    ASSERT_FALSE(cases.empty());
    sum_ = 0;
    count_ = 0;
    RunCases(engine, cases, files->config.vocabulary);
    ExpectMean(prompts, 1.0);
  }

  double sum_ = 0;
  int64_t count_ = 0;
};

TEST_P(GoldenTest, ModelsLikeTransformers) {
  const auto names = LocalFiles().ListFolders(kData + "/models");
  ASSERT_TRUE(names.ok());
  ASSERT_GE(names->size(), 8u);
  for (const std::string& name : *names) {
    const std::string folder = kData + "/models/" + name;
    RunModel(folder, folder + "/expected.json");
  }
}

TEST_P(GoldenTest, AGgufOfKQuantsLikeTransformers) {
  RunModel(kData + "/gguf/k-quants.gguf", kData + "/gguf/k-quants.expected.json");
}

TEST_P(GoldenTest, AdaptersMixedInOneBatchLikePeft) {
  const auto names = LocalFiles().ListFolders(kData + "/adapters");
  ASSERT_TRUE(names.ok());
  std::map<std::string, std::vector<std::string>> by_base;
  for (const std::string& name : *names)
    by_base[BaseModelOf(kData + "/adapters/" + name)].push_back(name);
  ASSERT_GE(by_base["llama"].size(), 10u);
  for (const auto& [base, adapter_names] : by_base) {
    SCOPED_TRACE(base);
    auto files = checkpoint::OpenModel(LocalFiles(), kData + "/models/" + base);
    ASSERT_TRUE(files.ok()) << files.error().message;
    TestEngine engine(files->config, files->tensors.get(), Options(GetParam()), 2000);
    std::vector<naive::Adapter> adapters;
    adapters.reserve(adapter_names.size());
    std::vector<Case> cases;
    for (const std::string& name : adapter_names) {
      adapters.push_back(naive::ReadPeftAdapter(kData + "/adapters/" + name, files->config));
      adapters.back().Pack(files->config, engine.transformer().tile_packer());
      for (Prompt& prompt : ReadPrompts(kData + "/adapters/" + name + "/expected.json"))
        cases.push_back({std::move(prompt), adapters.back().table, name});
    }
    const std::vector<Prompt> prompts = ReadPrompts(kData + "/models/" + base + "/expected.json");
    for (const Prompt& prompt : prompts) cases.push_back({prompt, nullptr, base});
    // Neighbours in the batch should be different adapters.
    std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) {
      return a.prompt.ids.size() < b.prompt.ids.size();
    });
    sum_ = 0;
    count_ = 0;
    RunCases(engine, cases, files->config.vocabulary);
    ExpectMean(prompts, 1.25);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, GoldenTest,
                         ::testing::Values(Variant{"avx512bf16", DType::kBFloat16},
                                           Variant{"avx512bf16", DType::kFloat32},
                                           Variant{"avx2", DType::kBFloat16},
                                           Variant{"avx2", DType::kFloat32},
                                           Variant{"cuda", DType::kBFloat16},
                                           Variant{"deterministic", DType::kBFloat16}),
                         [](const auto& info) {
                           return std::string(info.param.kernels) +
                                  (info.param.dtype == DType::kFloat32 ? "Float32" : "Bfloat16");
                         });

}  // namespace
}  // namespace weft::model
