#include "ops/cpu/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>

namespace weft::ops::cpu {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() {
    Isa isa;
    WEFT_CHECK(ChooseIsa(&isa));
    kernels_ = &KernelsFor(isa, DType::kFloat32);
  }

  Sampler Make(size_t vocabulary) const {
    return Sampler(*kernels_, static_cast<int32_t>(vocabulary), 2);
  }
  static SampleRow Row(const SamplingParams& params, int32_t position = 0) {
    SampleRow row;
    row.params = std::make_shared<SamplingParams>(params);
    row.position = position;
    return row;
  }
  static std::vector<float> RandomLogits(size_t count, uint32_t seed, float deviation = 3.0F) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> distribution(0.0F, deviation);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = distribution(generator);
    return logits;
  }
  /// How often each token comes when only the position changes.
  std::map<TokenId, int> Draw(const std::vector<float>& logits, const SamplingParams& params,
                              int draws) const {
    Sampler sampler = Make(logits.size());
    std::map<TokenId, int> counts;
    SampleRow row = Row(params);
    for (row.position = 0; row.position < draws; ++row.position)
      ++counts[sampler.Sample(logits, row, 0).token];
    return counts;
  }
  /// Chi-squared distance of counts from expected shares, by degree of freedom.
  static double Distance(const std::map<TokenId, int>& counts,
                         const std::map<TokenId, double>& shares, int draws) {
    double sum = 0;
    for (const auto& [token, share] : shares) {
      const auto found = counts.find(token);
      const double count = found == counts.end() ? 0 : found->second;
      sum += (count - share * draws) * (count - share * draws) / (share * draws);
    }
    return sum / static_cast<double>(shares.size());
  }
  static std::map<TokenId, double> Softmax(const std::vector<float>& logits, double temperature,
                                           const std::set<TokenId>& kept) {
    std::map<TokenId, double> shares;
    double sum = 0;
    for (const TokenId token : kept)
      sum += shares[token] = std::exp(logits[static_cast<size_t>(token)] / temperature);
    for (auto& [token, share] : shares) share /= sum;
    return shares;
  }

  const Kernels* kernels_ = nullptr;
};

TEST_F(SamplerTest, GreedyTakesTheSmallestIdAmongEquals) {
  std::vector<float> logits(100, 1.0F);
  logits[40] = logits[70] = 5.0F;
  SamplingParams params;
  params.temperature = 0.0F;
  Sampler sampler = Make(100);
  EXPECT_EQ(sampler.Sample(logits, Row(params), 0).token, 40);
  params.temperature = 1.0F;
  params.top_k = 1;
  EXPECT_EQ(sampler.Sample(logits, Row(params), 0).token, 40);
}

TEST_F(SamplerTest, WholeDistributionIsDrawnInProportion) {
  const std::vector<float> logits = {1.0F, 2.0F, 0.0F, -1.0F, 2.5F};
  for (const float temperature : {1.0F, 0.5F, 2.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 42;
    const auto shares = Softmax(logits, temperature, {0, 1, 2, 3, 4});
    EXPECT_LT(Distance(Draw(logits, params, 20000), shares, 20000), 3.0);
  }
}

TEST_F(SamplerTest, TopKKeepsTheLikeliestAndTiesTheSmallestIds) {
  const std::vector<float> logits = {1.0F, 3.0F, 2.0F, 2.0F, 2.0F, -1.0F};
  SamplingParams params;
  params.top_k = 3;
  const auto counts = Draw(logits, params, 20000);
  EXPECT_LT(Distance(counts, Softmax(logits, 1.0, {1, 2, 3}), 20000), 3.0);
  EXPECT_EQ(counts.size(), 3u);
}

TEST_F(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  // Shares 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits = {std::log(0.5F), std::log(0.25F), std::log(0.125F),
                                     std::log(0.125F)};
  SamplingParams params;
  params.top_p = 0.7F;
  EXPECT_EQ(Draw(logits, params, 2000).size(), 2u);
  params.top_p = 0.76F;
  EXPECT_EQ(Draw(logits, params, 2000).size(), 3u);
  params.top_p = 0.01F;
  EXPECT_EQ(Draw(logits, params, 200).size(), 1u);
  // Of what top_k leaves (shares 2/3 and 1/3), 0.6 needs one.
  params.top_p = 0.6F;
  params.top_k = 2;
  EXPECT_EQ(Draw(logits, params, 200).size(), 1u);
}

TEST_F(SamplerTest, MinPDropsWhatIsFarBelowTheLikeliest) {
  const std::vector<float> logits = {0.0F, std::log(0.5F), std::log(0.3F), std::log(0.1F)};
  SamplingParams params;
  params.min_p = 0.2F;
  const auto counts = Draw(logits, params, 20000);
  EXPECT_LT(Distance(counts, Softmax(logits, 1.0, {0, 1, 2}), 20000), 3.0);
  EXPECT_EQ(counts.size(), 3u);
}

/// The plain definition, for any parameters: sort, cut, race.
TokenId Reference(const std::vector<float>& logits, const SamplingParams& params,
                  int32_t position) {
  struct Entry {
    TokenId token;
    double weight;
  };
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<Entry> entries;
  for (size_t i = 0; i < logits.size(); ++i)
    entries.push_back(
        {static_cast<TokenId>(i), std::exp((double{logits[i]} - max) / params.temperature)});
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.weight > b.weight; });
  std::erase_if(entries, [&](const Entry& entry) { return entry.weight < params.min_p; });
  if (params.top_k > 0 && entries.size() > static_cast<size_t>(params.top_k))
    entries.resize(static_cast<size_t>(params.top_k));
  double sum = 0;
  for (const Entry& entry : entries) sum += entry.weight;
  double kept = 0;
  size_t count = 0;
  while (count < entries.size() && kept < params.top_p * sum) kept += entries[count++].weight;
  entries.resize(std::max<size_t>(1, count));
  TokenId winner = -1;
  double best = kInfinity;
  for (const Entry& entry : entries) {
    const double draw = DrawFor(params.seed, static_cast<uint32_t>(position), entry.token);
    if (-std::log(draw) / entry.weight < best) {
      best = -std::log(draw) / entry.weight;
      winner = entry.token;
    }
  }
  return winner;
}

TEST_F(SamplerTest, LikeThePlainDefinitionForRandomParameters) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> unit(0.0F, 1.0F);
  for (int round = 0; round < 400; ++round) {
    const size_t vocabulary = 1 + generator() % 3000;
    const auto logits =
        RandomLogits(vocabulary, static_cast<uint32_t>(round), 0.5F + 5 * unit(generator));
    SamplingParams params;
    params.temperature = 0.2F + 2 * unit(generator);
    if (generator() % 2 == 0) params.top_k = 1 + static_cast<int32_t>(generator() % 100);
    if (generator() % 2 == 0) params.top_p = 0.05F + 0.95F * unit(generator);
    if (generator() % 2 == 0) params.min_p = 0.3F * unit(generator);
    params.seed = (uint64_t{generator()} << 32) | generator();
    const auto position = static_cast<int32_t>(generator() % 100000);
    Sampler sampler = Make(vocabulary);
    ASSERT_EQ(sampler.Sample(logits, Row(params, position), 1).token,
              Reference(logits, params, position))
        << round << " top_k " << params.top_k << " top_p " << params.top_p << " min_p "
        << params.min_p;
  }
}

TEST_F(SamplerTest, DependsOnSeedAndPosition) {
  const auto logits = RandomLogits(1000, 1, 0.1F);
  SamplingParams params;
  Sampler sampler = Make(1000);
  std::set<TokenId> by_position;
  std::set<TokenId> by_seed;
  for (int32_t i = 0; i < 50; ++i) {
    by_position.insert(sampler.Sample(logits, Row(params, i), 0).token);
    params.seed = static_cast<uint64_t>(i) << 33;
    by_seed.insert(sampler.Sample(logits, Row(params, 5), 0).token);
    params.seed = 0;
  }
  EXPECT_GT(by_position.size(), 40u);
  EXPECT_GT(by_seed.size(), 40u);
  EXPECT_EQ(sampler.Sample(logits, Row(params, 9), 0).token,
            sampler.Sample(logits, Row(params, 9), 1).token);
}

TEST_F(SamplerTest, PenaltiesFollowTheirFormulas) {
  const std::vector<float> logits = {2.0F, -2.0F, 1.9F, -1.9F, 1.0F};
  SamplingParams params;
  params.temperature = 0.0F;
  params.repetition_penalty = 2.0F;
  SampleRow row = Row(params);
  // 0 and 1 in the prompt, 2 generated twice, the 4 at the end not yet.
  row.tokens = std::make_shared<std::vector<TokenId>>(std::vector<TokenId>{0, 1, 2, 2, 4});
  row.prompt_count = 2;
  row.token_count = 4;
  Sampler sampler = Make(5);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 0);  // 1.0 each of 0 and 4: the smaller id.
  params.repetition_penalty = 1.0F;
  row.params = std::make_shared<SamplingParams>(params);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 0);
  params.frequency_penalty = -0.06F;  // 2 gains 0.12 for being there twice; the prompt's 0 nothing.
  row.params = std::make_shared<SamplingParams>(params);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 2);
  params.frequency_penalty = 0.0F;
  params.presence_penalty = -0.06F;  // Once only: 1.96.
  row.params = std::make_shared<SamplingParams>(params);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 0);
  params.presence_penalty = -0.11F;
  row.params = std::make_shared<SamplingParams>(params);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 2);
  // What penalties counted was forgotten again.
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 2);
}

TEST_F(SamplerTest, TheLastTokenCountsAsTheLastOfTheOthers) {
  const std::vector<float> logits = {2.0F, -2.0F, 1.9F, -1.9F, 1.95F};
  SamplingParams params;
  params.temperature = 0.0F;
  params.repetition_penalty = 1.5F;
  params.presence_penalty = 0.2F;
  Sampler sampler = Make(5);
  for (TokenId last = 0; last < 5; ++last) {
    SampleRow apart = Row(params);
    apart.tokens = std::make_shared<std::vector<TokenId>>(std::vector<TokenId>{1, 0});
    apart.prompt_count = 1;
    apart.token_count = 2;
    apart.last_token = last;
    SampleRow together = apart;
    together.tokens = std::make_shared<std::vector<TokenId>>(std::vector<TokenId>{1, 0, last});
    together.token_count = 3;
    together.last_token = -1;
    EXPECT_EQ(sampler.Sample(logits, apart, 0).token, sampler.Sample(logits, together, 0).token);
    EXPECT_EQ(sampler.Sample(logits, apart, 0).token, last == 4 ? 2 : 4) << last;
  }
}

TEST_F(SamplerTest, BiasAndForbiddenTokens) {
  const std::vector<float> logits = {2.0F, 1.0F, 0.0F};
  SamplingParams params;
  params.temperature = 0.0F;
  params.logit_bias = {{2, 5.0F}, {0, -1.5F}};
  Sampler sampler = Make(3);
  SampleRow row = Row(params);
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 2);
  row.forbidden = std::make_shared<std::vector<TokenId>>(std::vector<TokenId>{2});
  EXPECT_EQ(sampler.Sample(logits, row, 0).token, 1);
  params.temperature = 1.0F;
  for (int32_t position = 0; position < 200; ++position) {
    row.position = position;
    row.params = std::make_shared<SamplingParams>(params);
    EXPECT_NE(sampler.Sample(logits, row, 0).token, 2);
  }
}

TEST_F(SamplerTest, LogprobsAreOfTheRawDistribution) {
  const auto logits = RandomLogits(5000, 3);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  SamplingParams params;
  params.temperature = 0.3F;
  params.logit_bias = {{7, 100.0F}};
  SampleRow row = Row(params);
  row.want_logprob = true;
  row.top_logprobs = 5;
  Sampler sampler = Make(5000);
  const SampledToken result = sampler.Sample(logits, row, 0);
  EXPECT_EQ(result.token, 7);
  EXPECT_NEAR(result.logprob, logits[7] - std::log(sum), 1e-4);
  ASSERT_EQ(result.top.size(), 5u);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(result.top[i].second, sorted[i] - std::log(sum), 1e-4);
}

TEST_F(SamplerTest, GivenTokenIsNotChosenButMeasured) {
  const std::vector<float> logits = {0.0F, 0.0F, 0.0F, 0.0F};
  SampleRow row = Row({});
  row.sample = false;
  row.given_token = 2;
  row.want_logprob = true;
  Sampler sampler = Make(4);
  const SampledToken result = sampler.Sample(logits, row, 0);
  EXPECT_EQ(result.token, 2);
  EXPECT_NEAR(result.logprob, std::log(0.25), 1e-5);
  EXPECT_TRUE(result.valid);
}

TEST_F(SamplerTest, NanNeverCrashesAndIsReported) {
  Sampler sampler = Make(50);
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingParams params;
    params.temperature = temperature;
    SampleRow row = Row(params);
    row.want_logprob = true;
    row.top_logprobs = 3;
    const SampledToken all = sampler.Sample(std::vector<float>(50, kNan), row, 0);
    EXPECT_EQ(all.token, 0);
    EXPECT_FALSE(all.valid);
    const SampledToken nothing = sampler.Sample(std::vector<float>(50, -kInfinity), row, 0);
    EXPECT_FALSE(nothing.valid);
    std::vector<float> some(50, kNan);
    some[33] = 1.0F;
    const SampledToken one = sampler.Sample(some, row, 0);
    EXPECT_EQ(one.token, 33);
    EXPECT_FALSE(one.valid);  // No log-probability can be given.
    EXPECT_FALSE(std::isnan(one.logprob));
    some[20] = kInfinity;
    EXPECT_EQ(sampler.Sample(some, row, 0).token, 20);
    params.top_p = 0.5F;
    row = Row(params);
    EXPECT_EQ(sampler.Sample(some, row, 0).token, 20);
  }
}

}  // namespace
}  // namespace weft::ops::cpu
