// Steps that are submitted before the one before has ended, with a real model.
#include "engine/model_executor.h"

#include <gtest/gtest.h>

#include <bit>
#include <condition_variable>
#include <mutex>

#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"
#include "device/device_for_test.h"

namespace weft::engine {
namespace {

constexpr int32_t kPages = 64;
constexpr int32_t kSequences = 3;
constexpr int32_t kDecodes = 7;
/// What the sampler of a GPU has room for, and more.
constexpr int32_t kFewTop = 3;
constexpr int32_t kManyTop = 40;

struct Choice {
  bool penalties = false;
  int32_t top = 0;
};

class ModelExecutorTest : public ::testing::TestWithParam<Choice> {
 protected:
  ModelExecutorTest()
      : files_(std::move(
            checkpoint::OpenModel(LocalFiles(), SourceFolder() + "/tests/data/models/llama")
                .value())),
        device_(device::CreateDeviceForTest()) {
    model::TransformerOptions options;
    options.max_sequences = kSequences;
    model_ = std::move(
        model::Transformer::Create(files_.config, files_.tensors.get(), *device_, options).value());
    arena_ = std::move(device_->AllocateDevice(kPages * model_->kv_layout().page_bytes).value());
    model_->BindPages(arena_.data(), kPages);
    for (int32_t i = 0; i < kSequences; ++i) {
      for (int32_t t = 0; t < 9 + 11 * i; ++t) prompts_[i].push_back((t * 37 + 11 * i) % 260);
    }
  }

  /// The prompts at once, or one more token of each; `chosen` are those that are known. Samples are
  /// in another order than their rows.
  model::ForwardBatch Batch(int32_t decode, int32_t first_page,
                            const std::vector<std::vector<TokenId>>& chosen) const {
    model::ForwardBatch batch;
    for (int32_t i = 0; i < kSequences; ++i) {
      const auto length = static_cast<int32_t>(prompts_[i].size());
      model::SequenceSlice slice;
      slice.rows = decode == 0 ? length : 1;
      slice.position = decode == 0 ? 0 : length + decode - 1;
      for (int32_t p = 0; p < kPages / 2 / kSequences; ++p)
        slice.pages.emplace_back(first_page + i * (kPages / 2 / kSequences) + p);
      slice.first_logits_row = slice.rows - 1;
      batch.slices.push_back(slice);
      if (decode == 0) {
        batch.tokens.insert(batch.tokens.end(), prompts_[i].begin(), prompts_[i].end());
      } else if (chosen.size() == static_cast<size_t>(decode)) {
        batch.tokens.push_back(chosen.back()[static_cast<size_t>(kSequences - 1 - i)]);
      } else {
        batch.carried.push_back({i, kSequences - 1 - i, kSequences - 1 - i});
        batch.tokens.push_back(0);
      }
    }
    for (int32_t i = kSequences - 1; i >= 0; --i)
      batch.samples.push_back(Sample(i, decode, chosen));
    return batch;
  }

  ops::SampleRow Sample(int32_t sequence, int32_t decode,
                        const std::vector<std::vector<TokenId>>& chosen) const {
    auto params = std::make_shared<ops::SamplingParams>();
    params->seed = static_cast<uint64_t>(sequence + 5);
    params->temperature = sequence == 0 ? 0.0F : 1.1F;
    if (GetParam().penalties && sequence == 1) {
      params->frequency_penalty = 0.7F;
      params->repetition_penalty = 1.3F;
    }
    ops::SampleRow row;
    row.logits_row = sequence;
    row.params = params;
    row.position = static_cast<int32_t>(prompts_[sequence].size()) + decode;
    row.want_logprob = true;
    row.top_logprobs = sequence == 2 ? GetParam().top : 0;
    auto tokens = std::make_shared<std::vector<TokenId>>(prompts_[sequence]);
    row.prompt_count = static_cast<int32_t>(tokens->size());
    for (size_t step = 0; step < std::min(chosen.size(), static_cast<size_t>(decode)); ++step)
      tokens->push_back(chosen[step][static_cast<size_t>(kSequences - 1 - sequence)]);
    row.token_count = static_cast<int32_t>(tokens->size());
    row.tokens = std::move(tokens);
    return row;
  }

  static std::vector<TokenId> TokensOf(const std::vector<ops::SampledToken>& samples) {
    std::vector<TokenId> tokens;
    for (const ops::SampledToken& sample : samples) tokens.push_back(sample.token);
    return tokens;
  }

  checkpoint::ModelFiles files_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<model::Transformer> model_;
  device::Buffer arena_;
  std::vector<TokenId> prompts_[kSequences];
};

/// Answers of an executor, by step.
class Answers {
 public:
  void Put(StepDone done) {
    std::lock_guard lock(mutex_);
    answers_.push_back(std::move(done));
    changed_.notify_all();
  }
  /// Waits until there are `count`.
  const StepDone& Wait(size_t count) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(60),
                           [&] { return answers_.size() >= count; }))
      std::abort();
    return answers_[count - 1];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StepDone> answers_;
};

TEST_P(ModelExecutorTest, StepsSubmittedAheadChooseAsStepsOneByOne) {
  std::vector<std::vector<ops::SampledToken>> expected;
  std::vector<std::vector<TokenId>> tokens;
  for (int32_t decode = 0; decode <= kDecodes; ++decode) {
    expected.push_back(model_->Run(Batch(decode, 1, tokens)));
    tokens.push_back(TokensOf(expected.back()));
  }
  Answers answers;
  const SteadyClock clock;
  ModelExecutor executor(*model_, *device_, clock,
                         [&](StepDone done) { answers.Put(std::move(done)); });
  tokens.clear();
  // The engine's way: two steps under way, and what is known is what was answered.
  for (int32_t decode = 0; decode <= kDecodes; ++decode) {
    executor.Submit({StepId(decode), Batch(decode, 1 + kPages / 2, tokens), {}});
    if (decode > 0) tokens.push_back(TokensOf(answers.Wait(static_cast<size_t>(decode)).samples));
  }
  Moment last{};
  for (size_t step = 0; step < expected.size(); ++step) {
    SCOPED_TRACE(step);
    const StepDone& done = answers.Wait(step + 1);
    EXPECT_EQ(done.id, StepId(static_cast<int64_t>(step)));
    EXPECT_LE(last, done.begin);
    EXPECT_LE(done.begin, done.end);
    last = done.end;
    ASSERT_EQ(done.samples.size(), expected[step].size());
    for (size_t i = 0; i < expected[step].size(); ++i) {
      EXPECT_EQ(done.samples[i].token, expected[step][i].token) << "sample " << i;
      EXPECT_EQ(std::bit_cast<uint32_t>(done.samples[i].logprob),
                std::bit_cast<uint32_t>(expected[step][i].logprob));
      EXPECT_EQ(done.samples[i].top, expected[step][i].top);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Choices, ModelExecutorTest,
                         ::testing::Values(Choice{false, kFewTop}, Choice{true, kFewTop},
                                           Choice{false, kManyTop}, Choice{true, kManyTop}),
                         [](const auto& info) {
                           return std::string(info.param.penalties ? "Penalised" : "Plain") +
                                  (info.param.top > kFewTop ? "WithManyTop" : "WithFewTop");
                         });

}  // namespace
}  // namespace weft::engine
