#include "model/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "model/naive_transformer.h"
#include "model/test_engine.h"

namespace weft::model {
namespace {

ModelConfig SmallConfig() {
  ModelConfig config;
  config.name = "small";
  config.vocabulary = 101;
  config.hidden = 64;
  config.intermediate = 112;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.context_length = 512;
  config.tied_embeddings = true;
  return config;
}

/// How far a step's log-probabilities lie from the reference's rows.
struct Distance {
  double max = 0;
  double mean = 0;
};

Distance Compare(const std::vector<ops::SampledToken>& results, size_t first,
                 const std::vector<std::vector<double>>& reference, size_t from, size_t rows) {
  Distance distance;
  size_t count = 0;
  for (size_t r = 0; r < rows; ++r)
    for (const auto& [token, logprob] : results[first + r].top) {
      const double error = std::abs(logprob - reference[from + r][static_cast<size_t>(token)]);
      // std::max would drop a NaN.
      if (!(error <= distance.max)) distance.max = error;
      distance.mean += error;
      ++count;
    }
  distance.mean /= static_cast<double>(count);
  return distance;
}

struct Variant {
  const char* kernels;
  DType dtype;
};

class TransformerTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (!UseKernels(GetParam().kernels)) GTEST_SKIP() << "runs on the other device";
  }
  DType dtype() const { return GetParam().dtype; }
  bool SameBitsAlways() const { return std::string(GetParam().kernels) != "cuda"; }
  TransformerOptions Options() const {
    TransformerOptions options;
    options.dtype = dtype();
    options.threads = 2;
    options.max_rows = 256;
    options.max_logits_rows = 24;
    options.deterministic = SameBitsAlways();
    return options;
  }
  void ExpectClose(const Distance& distance) const {
    if (dtype() == DType::kFloat32) {
      EXPECT_LT(distance.max, 1e-3);
    } else {
      EXPECT_LT(distance.mean, 0.02);
      EXPECT_LT(distance.max, 0.3);
    }
  }
  void ExpectLikeReference(const ModelConfig& config, uint32_t seed) {
    const auto tensors = naive::RandomModel(config, dtype(), seed);
    const std::vector<TokenId> tokens = RandomTokens(85, config.vocabulary, seed);
    const auto reference = naive::LogProbabilities(config, *tensors, nullptr, tokens);
    TestEngine engine(config, tensors.get(), Options());
    TestSequence sequence{.tokens = tokens};
    const auto prefill = engine.Step({&sequence}, {80}, config.vocabulary);
    ExpectClose(Compare(prefill, 0, reference, 0, 80));
    for (size_t t = 80; t < tokens.size(); ++t) {
      const auto decode = engine.Step({&sequence}, {1}, config.vocabulary);
      ExpectClose(Compare(decode, 0, reference, t, 1));
    }
  }
};

TEST_P(TransformerTest, Llama) { ExpectLikeReference(SmallConfig(), 1); }

TEST_P(TransformerTest, LlamaThreeRopeAndSeparateHead) {
  ModelConfig config = SmallConfig();
  config.tied_embeddings = false;
  config.rope = {500000.0, RopeScaling::kLlama3, 8.0, 1.0, 4.0, 32};
  config.kv_heads = 4;
  ExpectLikeReference(config, 2);
}

TEST_P(TransformerTest, QwenTwoHasBiases) {
  ModelConfig config = SmallConfig();
  config.architecture = Architecture::kQwen2;
  config.qkv_bias = true;
  config.head_dim = 48;
  config.rope.scaling = RopeScaling::kLinear;
  config.rope.factor = 4.0;
  ExpectLikeReference(config, 3);
}

TEST_P(TransformerTest, QwenThreeNormsItsHeads) {
  ModelConfig config = SmallConfig();
  config.architecture = Architecture::kQwen3;
  config.qk_norm = true;
  config.head_dim = 32;
  config.kv_heads = 1;
  ExpectLikeReference(config, 4);
}

TEST_P(TransformerTest, LayersWithoutRopeAndOutputBias) {
  ModelConfig config = SmallConfig();
  config.layer_without_rope = {true, false};
  config.output_bias = true;
  config.head_dim = 128;
  ExpectLikeReference(config, 5);
}

TEST_P(TransformerTest, LongSumsAreCutWithoutHarm) {
  ModelConfig config = SmallConfig();
  config.layers = 1;
  config.intermediate = 2304;  // More than cpu_projections.cc sums in one go.
  ExpectLikeReference(config, 6);
}

const std::vector<Projection> kEvery(kAllProjections.begin(), kAllProjections.end());

/// Adapters of many ranks and targets for one batch. The last is the base model.
std::vector<naive::Adapter> MixedAdapters(const ModelConfig& config, DType dtype) {
  std::vector<naive::Adapter> adapters;
  const std::vector<Projection> attention = {Projection::kQ, Projection::kV};
  const std::vector<Projection> mlp = {Projection::kGate, Projection::kDown, Projection::kO};
  uint32_t seed = 100;
  for (const int32_t rank : {1, 3, 8, 9, 16, 17, 24, 64, 200, 256})
    adapters.push_back(naive::RandomAdapter(config, dtype, rank,
                                            rank % 3 == 0   ? attention
                                            : rank % 3 == 1 ? kEvery
                                                            : mlp,
                                            seed++));
  adapters.push_back(naive::RandomAdapter(config, dtype, 8, {}, seed));
  return adapters;
}

TEST_P(TransformerTest, AdaptersMixedInOneBatchLikeReference) {
  const ModelConfig config = SmallConfig();
  const auto tensors = naive::RandomModel(config, dtype(), 7);
  TestEngine engine(config, tensors.get(), Options());
  std::vector<naive::Adapter> adapters = MixedAdapters(config, dtype());
  std::vector<TestSequence> sequences(adapters.size());
  std::vector<TestSequence*> pointers;
  std::vector<int32_t> rows;
  for (size_t i = 0; i < adapters.size(); ++i) {
    adapters[i].Pack(config, engine.transformer().tile_packer());
    sequences[i].tokens = RandomTokens(30, config.vocabulary, static_cast<uint32_t>(i));
    if (!adapters[i].modules.empty()) sequences[i].adapter = adapters[i].table;
    pointers.push_back(&sequences[i]);
    rows.push_back(1 + static_cast<int32_t>(i * 7 % 20));
  }
  const auto prefill = engine.Step(pointers, rows, config.vocabulary);
  const auto decode =
      engine.Step(pointers, std::vector<int32_t>(rows.size(), 1), config.vocabulary);
  size_t row = 0;
  for (size_t i = 0; i < adapters.size(); ++i) {
    SCOPED_TRACE(i);
    const auto reference =
        naive::LogProbabilities(config, *tensors, &adapters[i], sequences[i].tokens);
    const auto count = static_cast<size_t>(rows[i]);
    ExpectClose(Compare(prefill, row, reference, 0, count));
    ExpectClose(Compare(decode, i, reference, count, 1));
    row += count;
  }
}

TEST_P(TransformerTest, SixtyFourAdaptersInOneBatch) {
  ModelConfig config = SmallConfig();
  config.layers = 1;
  const auto tensors = naive::RandomModel(config, dtype(), 17);
  TestEngine engine(config, tensors.get(), Options(), 300);
  std::vector<naive::Adapter> adapters;
  for (uint32_t i = 0; i < 64; ++i) {
    const auto rank = static_cast<int32_t>(1 + i * i % 97);
    adapters.push_back(naive::RandomAdapter(config, dtype(), rank, {kAllProjections[i % 7]}, i));
    adapters.back().Pack(config, engine.transformer().tile_packer());
  }
  std::vector<TestSequence> sequences(adapters.size());
  std::vector<TestSequence*> pointers;
  for (size_t i = 0; i < adapters.size(); ++i) {
    sequences[i].tokens = RandomTokens(4, config.vocabulary, static_cast<uint32_t>(i));
    sequences[i].adapter = adapters[i].table;
    pointers.push_back(&sequences[i]);
  }
  const std::vector<int32_t> three(adapters.size(), 3);
  const std::vector<int32_t> one(adapters.size(), 1);
  const auto prefill = engine.Step(pointers, three, config.vocabulary);
  const auto decode = engine.Step(pointers, one, config.vocabulary);
  for (size_t i = 0; i < adapters.size(); ++i) {
    SCOPED_TRACE(i);
    const auto reference =
        naive::LogProbabilities(config, *tensors, &adapters[i], sequences[i].tokens);
    ExpectClose(Compare(prefill, 3 * i, reference, 0, 3));
    ExpectClose(Compare(decode, i, reference, 3, 1));
  }
}

/// Every log-probability of every position, when the sequence is run in the given chunks.
std::vector<ops::SampledToken> RunChunks(TestEngine& engine, TestSequence sequence,
                                         const std::vector<int32_t>& chunks, int32_t vocabulary) {
  std::vector<ops::SampledToken> all;
  for (const int32_t chunk : chunks)
    for (auto& result : engine.Step({&sequence}, {chunk}, vocabulary))
      all.push_back(std::move(result));
  return all;
}

void ExpectSameBits(const ops::SampledToken& a, const ops::SampledToken& b) {
  ASSERT_EQ(a.token, b.token);
  ASSERT_EQ(a.top, b.top);
  ASSERT_FALSE(std::isnan(a.top.front().second));
}

TEST_P(TransformerTest, BitsDoNotDependOnChunks) {
  if (!SameBitsAlways()) GTEST_SKIP() << "needs --deterministic";
  ModelConfig config = SmallConfig();
  config.intermediate = 2304;
  const auto tensors = naive::RandomModel(config, dtype(), 8);
  TestEngine engine(config, tensors.get(), Options(), 2000);
  naive::Adapter adapter = naive::RandomAdapter(config, dtype(), 24, kEvery, 9);
  adapter.Pack(config, engine.transformer().tile_packer());
  TestSequence sequence{.tokens = RandomTokens(150, config.vocabulary, 10)};
  sequence.adapter = adapter.table;
  const auto whole = RunChunks(engine, sequence, {150}, config.vocabulary);
  std::vector<std::vector<int32_t>> ways = {{1, 149},     {149, 1},          {64, 86},
                                            {63, 65, 22}, {16, 16, 16, 102}, {13, 50, 87}};
  ways.push_back(std::vector<int32_t>(150, 1));
  for (const auto& chunks : ways) {
    const auto parts = RunChunks(engine, sequence, chunks, config.vocabulary);
    ASSERT_EQ(parts.size(), whole.size());
    for (size_t t = 0; t < whole.size(); ++t) {
      SCOPED_TRACE(t);
      ExpectSameBits(whole[t], parts[t]);
    }
  }
}

TEST_P(TransformerTest, BitsDoNotDependOnTheBatch) {
  if (!SameBitsAlways()) GTEST_SKIP() << "needs --deterministic";
  const ModelConfig config = SmallConfig();
  const auto tensors = naive::RandomModel(config, dtype(), 11);
  TestEngine engine(config, tensors.get(), Options(), 2000);
  std::vector<naive::Adapter> adapters = MixedAdapters(config, dtype());
  for (auto& adapter : adapters) adapter.Pack(config, engine.transformer().tile_packer());
  std::mt19937 generator(12);
  for (size_t subject = 0; subject < adapters.size(); ++subject) {
    TestSequence alone{.tokens = RandomTokens(40, config.vocabulary, 13)};
    if (!adapters[subject].modules.empty()) alone.adapter = adapters[subject].table;
    const TestSequence fresh = alone;
    const auto expected_prefill = engine.Step({&alone}, {39}, config.vocabulary);
    const auto expected_decode = engine.Step({&alone}, {1}, config.vocabulary);
    const size_t others = 1 + generator() % 7;
    const size_t place = generator() % (others + 1);
    std::vector<TestSequence> sequences(others + 1);
    std::vector<int32_t> rows;
    std::vector<TestSequence*> pointers;
    size_t first = 0;
    for (size_t i = 0; i <= others; ++i) {
      sequences[i].tokens = RandomTokens(60, config.vocabulary, 20 + static_cast<uint32_t>(i));
      sequences[i].adapter = adapters[generator() % adapters.size()].table;
      if (i == place) sequences[i] = fresh;
      rows.push_back(i == place ? 39 : 1 + static_cast<int32_t>(generator() % 25));
      if (i < place) first += static_cast<size_t>(rows.back());
      pointers.push_back(&sequences[i]);
    }
    const auto prefill = engine.Step(pointers, rows, config.vocabulary);
    for (size_t r = 0; r < 39; ++r) ExpectSameBits(prefill[first + r], expected_prefill[r]);
    const auto decode =
        engine.Step(pointers, std::vector<int32_t>(rows.size(), 1), config.vocabulary);
    ExpectSameBits(decode[place], expected_decode[0]);
  }
}

TEST_P(TransformerTest, LargePagesGiveTheSameBits) {
  if (!SameBitsAlways()) GTEST_SKIP() << "needs --deterministic";
  const ModelConfig config = SmallConfig();
  const auto tensors = naive::RandomModel(config, dtype(), 14);
  TransformerOptions options = Options();
  TestEngine small(config, tensors.get(), options);
  options.min_page_bytes = 5 * small.transformer().kv_layout().page_bytes / 2;
  TestEngine large(config, tensors.get(), options);
  ASSERT_EQ(large.transformer().kv_layout().tokens_per_page, 48);
  const TestSequence sequence{.tokens = RandomTokens(130, config.vocabulary, 15)};
  const auto expected = RunChunks(small, sequence, {100, 30}, config.vocabulary);
  const auto actual = RunChunks(large, sequence, {70, 60}, config.vocabulary);
  for (size_t t = 0; t < expected.size(); ++t) ExpectSameBits(expected[t], actual[t]);
}

TEST_P(TransformerTest, DummyWeightsDependOnTheSeedAlone) {
  const ModelConfig config = SmallConfig();
  TransformerOptions options = Options();
  options.seed = 5;
  TestEngine first(config, nullptr, options);
  options.threads = 1;
  TestEngine second(config, nullptr, options);
  options.seed = 6;
  TestEngine third(config, nullptr, options);
  const TestSequence sequence{.tokens = RandomTokens(20, config.vocabulary, 16)};
  const auto a = RunChunks(first, sequence, {20}, config.vocabulary);
  const auto b = RunChunks(second, sequence, {20}, config.vocabulary);
  const auto c = RunChunks(third, sequence, {20}, config.vocabulary);
  ExpectSameBits(a[19], b[19]);
  EXPECT_NE(a[19].top, c[19].top);
}

INSTANTIATE_TEST_SUITE_P(Kernels, TransformerTest,
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

TEST(TransformerErrorTest, SaysWhichTensorIsMissingOrWrong) {
  const ModelConfig config = SmallConfig();
  const auto tensors = naive::RandomModel(config, DType::kFloat32, 1);
  const auto device = device::CreateDeviceForTest();
  tensors->Add("model.layers.1.mlp.up_proj.weight", {3, 64}, std::vector<float>(192));
  auto wrong = Transformer::Create(config, tensors.get(), *device, {});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().message,
            "tensor 'model.layers.1.mlp.up_proj.weight' has shape [3, 64], but the model's config "
            "asks for [112, 64]");
  tensors->Remove("model.layers.0.input_layernorm.weight");
  auto missing = Transformer::Create(config, tensors.get(), *device, {});
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("no tensor 'model.layers.0.input_layernorm.weight'"),
            std::string::npos)
      << missing.error().message;
}

TEST(TransformerErrorTest, RefusesHeadsNoKernelTakes) {
  ModelConfig config = SmallConfig();
  config.head_dim = 20;
  const auto device = device::CreateDeviceForTest();
  auto created = Transformer::Create(config, nullptr, *device, {});
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(created.error().message.find("head_dim is 20"), std::string::npos);
}

}  // namespace
}  // namespace weft::model
