// SmolLM2-135M-Instruct, a real model, against transformers and PEFT. Skipped where
// scripts/fetch-test-vocabularies has not brought the model.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"
#include "model/peft_on_disk.h"
#include "model/test_engine.h"

namespace weft::model {
namespace {

const std::string kRoot = SourceFolder();
/// Where a greedy token leads by less, another order of summing may choose another.
constexpr double kClearLead = 0.01;
constexpr double kClearLeadBfloat16 = 1.0;

std::string ModelPath() {
  const char* cache = std::getenv("WEFT_CACHE");
  const char* home = std::getenv("HOME");
  const std::string root =
      cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/weft";
  return root + "/models/smollm2.gguf";
}

struct Answer {
  std::vector<TokenId> ids;
  std::vector<TokenId> top_ids;
  std::vector<double> top_logprobs;
  std::vector<TokenId> greedy;
  std::vector<double> leads;
  std::shared_ptr<const ops::AdapterTable> adapter;
  std::string name;
};

template <typename T>
std::vector<T> Numbers(const simdjson::dom::element& array) {
  std::vector<T> values;
  for (const auto value : array.get_array()) values.push_back(static_cast<T>(double(value)));
  return values;
}

class SmolLmTest : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no " << ModelPath();
    if (!UseKernels("avx512bf16")) GTEST_SKIP() << "runs on the other device";
    auto files = checkpoint::OpenModel(LocalFiles(), ModelPath());
    ASSERT_TRUE(files.ok()) << files.error().message;
    config_ = files->config;
    TransformerOptions options;
    options.dtype = GetParam();
    options.threads = 2;
    options.max_rows = 1024;
    engine_ = std::make_unique<TestEngine>(config_, files->tensors.get(), options);
    ReadAnswers();
  }

  void ReadAnswers() {
    simdjson::dom::parser parser;
    const simdjson::dom::element root = parser.load(kRoot + "/tests/data/smollm2/expected.json");
    for (const auto [name, answers] : root["answers"].get_object()) {
      const std::string label(name);
      if (label != "base") {
        adapters_.push_back(std::make_unique<naive::Adapter>(
            naive::ReadPeftAdapter(kRoot + "/demo/adapters/" + label, config_)));
        adapters_.back()->Pack(config_, engine_->transformer().tile_packer());
      }
      size_t prompt = 0;
      for (const simdjson::dom::element entry : answers) {
        Answer answer;
        answer.ids = Numbers<TokenId>(root["prompts"].at(prompt++)["ids"]);
        answer.top_ids = Numbers<TokenId>(entry["top_ids"]);
        answer.top_logprobs = Numbers<double>(entry["top_logprobs"]);
        answer.greedy = Numbers<TokenId>(entry["greedy"]);
        answer.leads = Numbers<double>(entry["greedy_leads"]);
        answer.name = label;
        if (label != "base") answer.adapter = adapters_.back()->table;
        answers_.push_back(std::move(answer));
      }
    }
  }

  ModelConfig config_;
  std::unique_ptr<TestEngine> engine_;
  std::vector<std::unique_ptr<naive::Adapter>> adapters_;
  std::vector<Answer> answers_;
};

TEST_P(SmolLmTest, AnswersOfTheBaseAndOfAdaptersInOneBatch) {
  const bool narrow = GetParam() == DType::kBFloat16;
  std::vector<TestSequence> sequences(answers_.size());
  std::vector<TestSequence*> pointers;
  std::vector<int32_t> rows;
  for (size_t i = 0; i < answers_.size(); ++i) {
    sequences[i].tokens = answers_[i].ids;
    sequences[i].adapter = answers_[i].adapter;
    pointers.push_back(&sequences[i]);
    rows.push_back(static_cast<int32_t>(answers_[i].ids.size()));
  }
  const auto prefill = engine_->Step(pointers, rows, 64);
  double sum = 0;
  int64_t count = 0;
  std::vector<ops::SampledToken> last;
  size_t row = 0;
  for (size_t i = 0; i < answers_.size(); ++i) {
    SCOPED_TRACE(answers_[i].name);
    row += answers_[i].ids.size();
    last.push_back(prefill[row - 1]);
    for (size_t t = 0; t < answers_[i].top_ids.size(); ++t)
      for (const auto& [token, logprob] : last.back().top) {
        if (token != answers_[i].top_ids[t]) continue;
        const double error = std::abs(logprob - answers_[i].top_logprobs[t]);
        sum += error;
        ++count;
        EXPECT_LT(error, narrow ? 0.5 : 1e-3);
      }
  }
  EXPECT_GT(count, 19 * static_cast<int64_t>(answers_.size()));
  const double mean = sum / static_cast<double>(count);
  RecordProperty("mean", std::to_string(mean));
  EXPECT_LT(mean, narrow ? 0.05 : 1e-4);
  std::vector<bool> followed(answers_.size(), true);
  for (size_t step = 0; step < answers_[0].greedy.size(); ++step) {
    for (size_t i = 0; i < answers_.size(); ++i) {
      SCOPED_TRACE(answers_[i].name + ", token " + std::to_string(step));
      if (answers_[i].leads[step] < (narrow ? kClearLeadBfloat16 : kClearLead)) followed[i] = false;
      if (followed[i]) {
        EXPECT_EQ(last[i].token, answers_[i].greedy[step]);
      }
      sequences[i].tokens.push_back(last[i].token);
    }
    last = engine_->Step(pointers, std::vector<int32_t>(answers_.size(), 1), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, SmolLmTest, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& info) {
                           return info.param == DType::kFloat32 ? "Float32" : "Bfloat16";
                         });

}  // namespace
}  // namespace weft::model
