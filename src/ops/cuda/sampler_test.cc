#include "ops/cuda/sampler.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "ops/cpu/sampler.h"
#include "ops/cuda/device_bytes_for_test.h"
#include "ops/cuda/sample_plan.h"

namespace weft::ops::cuda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Runs rows on the device and on the CPU, and expects the same bits of both.
class SamplerTest : public ::testing::Test {
 protected:
  static constexpr int32_t kMaxTop = 24;

  SamplerTest() {
    cpu::Isa isa;
    WEFT_CHECK(cpu::ChooseIsa(&isa));
    kernels_ = &cpu::KernelsFor(isa, DType::kFloat32);
    EXPECT_EQ(PrepareSampler(), cudaSuccess);
  }

  /// `logits` [rows, vocabulary].
  std::vector<SampledToken> OnDevice(const std::vector<float>& logits, int32_t vocabulary,
                                     const std::vector<SampleRow>& rows) {
    const auto bucket = static_cast<int32_t>(rows.size()) + 3;
    SamplePlanner planner({.vocabulary = vocabulary,
                           .max_rows = bucket,
                           .max_edits = 200000,
                           .max_top_logprobs = kMaxTop});
    EXPECT_TRUE(planner.Fits(rows));
    PinnedBytes slot(planner.plan_bytes());
    DeviceBytes plan(planner.plan_bytes());
    DeviceBytes device_logits(static_cast<int64_t>(logits.size() * sizeof(float)));
    DeviceBytes scratch(SamplerScratchBytes(vocabulary, bucket));
    DeviceBytes results(bucket * planner.result_bytes());
    DeviceBytes tokens(bucket * 4);
    PinnedBytes host_results(results.bytes());
    plan.Poison();
    scratch.Poison();
    results.Poison();
    device_logits.Put(logits);
    planner.Plan(rows, bucket, slot.data());
    EXPECT_EQ(LaunchSlotUpload(slot.data(), plan.data(), nullptr), cudaSuccess);
    SamplerParams params;
    params.logits = reinterpret_cast<float*>(device_logits.data());
    params.stride = params.vocabulary = vocabulary;
    params.rows = bucket;
    params.requests =
        reinterpret_cast<const SampleRequest*>(plan.data() + planner.layout().requests);
    params.edits = reinterpret_cast<LogitEdit*>(plan.data() + planner.layout().edits);
    params.scratch = scratch.data();
    params.results = results.data();
    params.result_bytes = planner.result_bytes();
    params.host_results = host_results.data();
    params.tokens = reinterpret_cast<int32_t*>(tokens.data());
    EXPECT_EQ(LaunchSampler(params, nullptr), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<SampledToken> sampled(rows.size());
    planner.Collect(host_results.data(), sampled);
    const auto next = tokens.Get<int32_t>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(next[i], sampled[i].token);
    const auto after = device_logits.Get<float>(logits.size());
    EXPECT_EQ(std::memcmp(after.data(), logits.data(), logits.size() * sizeof(float)), 0)
        << "logits were not put back";
    return sampled;
  }

  void ExpectAsOnTheCpu(const std::vector<float>& logits, int32_t vocabulary,
                        const std::vector<SampleRow>& rows) {
    const auto sampled = OnDevice(logits, vocabulary, rows);
    cpu::Sampler sampler(*kernels_, vocabulary, 1);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = std::span(logits).subspan(
          static_cast<size_t>(rows[i].logits_row) * static_cast<size_t>(vocabulary),
          static_cast<size_t>(vocabulary));
      const SampledToken want = sampler.Sample(row, rows[i], 0);
      const SampledToken& got = sampled[i];
      const auto& p = *rows[i].params;
      const auto where = testing::Message()
                         << "row " << i << " of vocabulary " << vocabulary << ": temperature "
                         << p.temperature << " top_k " << p.top_k << " top_p " << p.top_p
                         << " min_p " << p.min_p;
      EXPECT_EQ(got.token, want.token) << where;
      EXPECT_EQ(got.valid, want.valid) << where;
      EXPECT_EQ(got.logprob, want.logprob) << where;
      EXPECT_EQ(got.top, want.top) << where;
    }
  }

  static SampleRow Row(const SamplingParams& params, int32_t logits_row, int32_t position = 0) {
    SampleRow row;
    row.params = std::make_shared<SamplingParams>(params);
    row.logits_row = logits_row;
    row.position = position;
    return row;
  }

  std::vector<float> RandomLogits(size_t count, float deviation) {
    std::normal_distribution<float> distribution(0.0F, deviation);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = distribution(random_);
    return logits;
  }

  SamplingParams RandomParams(int32_t vocabulary) {
    std::uniform_real_distribution<float> unit(0.0F, 1.0F);
    SamplingParams params;
    params.temperature = random_() % 6 == 0 ? 0.0F : 0.1F + 2.0F * unit(random_);
    if (random_() % 3 == 0) params.top_k = 1 + static_cast<int32_t>(random_() % 200);
    if (random_() % 3 == 0) params.top_p = 0.02F + 0.98F * unit(random_);
    if (random_() % 3 == 0) params.min_p = 0.4F * unit(random_) * unit(random_);
    if (random_() % 4 == 0) params.repetition_penalty = 0.8F + unit(random_);
    if (random_() % 4 == 0) params.frequency_penalty = 2.0F * unit(random_) - 1.0F;
    if (random_() % 4 == 0) params.presence_penalty = 2.0F * unit(random_) - 1.0F;
    for (size_t i = random_() % 3 * 4; i > 0; --i)
      params.logit_bias.emplace_back(static_cast<TokenId>(random_() % vocabulary),
                                     8.0F * unit(random_) - 4.0F);
    params.seed = (uint64_t{random_()} << 32) | random_();
    return params;
  }

  SampleRow RandomRow(int32_t vocabulary, int32_t logits_row) {
    SampleRow row = Row(RandomParams(vocabulary), logits_row, static_cast<int32_t>(random_() >> 4));
    auto tokens = std::make_shared<std::vector<TokenId>>(random_() % 300);
    for (TokenId& token : *tokens)
      token = static_cast<TokenId>(random_() % static_cast<uint32_t>(std::min(vocabulary, 150)));
    row.token_count = static_cast<int32_t>(tokens->size());
    row.prompt_count = row.token_count / 3;
    row.tokens = tokens;
    if (random_() % 3 == 0)
      row.last_token =
          static_cast<TokenId>(random_() % static_cast<uint32_t>(std::min(vocabulary, 150)));
    if (random_() % 3 == 0)
      row.forbidden = std::make_shared<std::vector<TokenId>>(
          2, static_cast<TokenId>(random_() % static_cast<uint32_t>(vocabulary)));
    row.want_logprob = random_() % 3 == 0;
    row.top_logprobs = random_() % 3 == 0 ? static_cast<int32_t>(random_() % kMaxTop) : 0;
    if (random_() % 8 == 0) {
      row.sample = false;
      row.given_token = static_cast<TokenId>(random_() % static_cast<uint32_t>(vocabulary));
      row.want_logprob = true;
    }
    return row;
  }

  std::mt19937 random_{11};
  const cpu::Kernels* kernels_ = nullptr;
};

class SamplerVocabularies : public SamplerTest, public testing::WithParamInterface<int32_t> {};

TEST_P(SamplerVocabularies, AsTheCpuForRandomRequests) {
  const int32_t vocabulary = GetParam();
  constexpr int32_t kRows = 48;
  for (const float deviation : {0.05F, 1.0F, 3.0F, 8.0F}) {
    const auto logits = RandomLogits(static_cast<size_t>(vocabulary * kRows), deviation);
    std::vector<SampleRow> rows;
    for (int32_t i = 0; i < kRows; ++i) rows.push_back(RandomRow(vocabulary, kRows - 1 - i));
    ExpectAsOnTheCpu(logits, vocabulary, rows);
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, SamplerVocabularies,
                         testing::Values(1, 5, 63, 1000, 4096, 4100, 32000, 49152, 128256, 151936),
                         testing::PrintToStringParamName());

TEST_F(SamplerTest, AsTheCpuAmongEqualLogits) {
  constexpr int32_t kVocabulary = 40000;
  constexpr int32_t kRows = 32;
  auto logits = RandomLogits(size_t{kVocabulary} * kRows, 2.0F);
  for (float& logit : logits) logit = std::round(logit * 2.0F) / 2.0F * (logit > 0 ? 1.0F : -0.0F);
  std::vector<SampleRow> rows;
  for (int32_t i = 0; i < kRows; ++i) rows.push_back(RandomRow(kVocabulary, i));
  ExpectAsOnTheCpu(logits, kVocabulary, rows);
}

TEST_F(SamplerTest, AsTheCpuWhereMoreIsKeptThanABlockSorts) {
  constexpr int32_t kVocabulary = 128256;
  const auto logits = RandomLogits(size_t{kVocabulary} * 2, 0.5F);
  std::vector<SampleRow> rows;
  for (const auto& [top_k, top_p, min_p] :
       std::vector<std::tuple<int32_t, float, float>>{{-1, 0.95F, 0.0F},
                                                      {20000, 1.0F, 0.0F},
                                                      {20000, 0.7F, 0.0F},
                                                      {-1, 1.0F, 0.01F},
                                                      {-1, 0.9F, 0.01F},
                                                      {200000, 1.0F, 0.0F},
                                                      {9000, 0.999F, 0.02F}}) {
    SamplingParams params;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    params.seed = rows.size();
    rows.push_back(Row(params, static_cast<int32_t>(rows.size() % 2), 3));
  }
  ExpectAsOnTheCpu(logits, kVocabulary, rows);
}

TEST_F(SamplerTest, AsTheCpuForWhatIsNoNumber) {
  constexpr int32_t kVocabulary = 9000;
  std::vector<float> all;
  std::vector<std::vector<float>> kinds(6, RandomLogits(kVocabulary, 1.0F));
  std::fill(kinds[0].begin(), kinds[0].end(), kNan);
  std::fill(kinds[1].begin(), kinds[1].end(), -kInfinity);
  for (size_t i = 0; i < kinds[2].size(); i += 3) kinds[2][i] = kNan;
  kinds[3][8000] = kInfinity;
  for (size_t i = 1; i < kinds[4].size(); i += 2) kinds[4][i] = -kInfinity;
  std::fill(kinds[5].begin(), kinds[5].end(), kNan);
  kinds[5][77] = -3.0F;
  std::vector<SampleRow> rows;
  for (size_t kind = 0; kind < kinds.size(); ++kind) {
    all.insert(all.end(), kinds[kind].begin(), kinds[kind].end());
    for (const float temperature : {0.0F, 1.0F})
      for (const float top_p : {1.0F, 0.5F})
        for (const int32_t top_k : {-1, 7})
          for (const bool logprobs : {false, true}) {
            SamplingParams params;
            params.temperature = temperature;
            params.top_p = top_p;
            params.top_k = top_k;
            rows.push_back(Row(params, static_cast<int32_t>(kind), 5));
            rows.back().want_logprob = logprobs;
            rows.back().top_logprobs = logprobs ? 4 : 0;
          }
    SampleRow given = Row({}, static_cast<int32_t>(kind));
    given.sample = false;
    given.given_token = 77;
    given.want_logprob = true;
    rows.push_back(given);
  }
  ExpectAsOnTheCpu(all, kVocabulary, rows);
}

TEST_F(SamplerTest, TheSameInAnyRowOfAnyBatch) {
  constexpr int32_t kVocabulary = 32000;
  constexpr int32_t kRows = 40;
  auto logits = RandomLogits(size_t{kVocabulary} * kRows, 2.0F);
  for (int32_t i = 1; i < kRows; i += 2)  // Odd rows are all alike.
    std::copy_n(logits.begin() + kVocabulary, kVocabulary, logits.begin() + i * kVocabulary);
  for (int round = 0; round < 8; ++round) {
    const SampleRow wanted = RandomRow(kVocabulary, 1);
    std::vector<SampleRow> rows;
    for (int32_t i = 0; i < kRows; ++i) {
      rows.push_back(i % 2 == 1 ? wanted : RandomRow(kVocabulary, i));
      rows.back().logits_row = i;
    }
    const auto sampled = OnDevice(logits, kVocabulary, rows);
    for (size_t i = 3; i < sampled.size(); i += 2) {
      EXPECT_EQ(sampled[i].token, sampled[1].token);
      EXPECT_EQ(sampled[i].logprob, sampled[1].logprob);
      EXPECT_EQ(sampled[i].top, sampled[1].top);
    }
  }
}

TEST_F(SamplerTest, EditsBeyondTheLimitDoNotFit) {
  SamplePlanner planner({.vocabulary = 100, .max_rows = 2, .max_edits = 5, .max_top_logprobs = 0});
  SamplingParams params;
  for (TokenId token = 0; token < 5; ++token) params.logit_bias.emplace_back(token, 1.0F);
  std::vector<SampleRow> rows = {Row(params, 0)};
  EXPECT_TRUE(planner.Fits(rows));
  rows[0].forbidden = std::make_shared<std::vector<TokenId>>(1, 9);
  EXPECT_FALSE(planner.Fits(rows));
}

}  // namespace
}  // namespace weft::ops::cuda
