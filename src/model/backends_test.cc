// The CPU's and the GPU's tokens for the same models. Skipped where tests do not run on a GPU.
#include <gtest/gtest.h>

#include <vector>

#include "device/device_for_test.h"
#include "model/naive_transformer.h"
#include "model/test_engine.h"

namespace weft::model {
namespace {

/// Greedy tokens may differ where the likeliest leads the second by less.
constexpr float kClearLead = 0.1F;

/// A model of a well-known family's proportions, a few layers deep.
ModelConfig Shape(int32_t hidden, int32_t heads, int32_t kv_heads, int32_t head_dim) {
  ModelConfig config;
  config.name = "shape";
  config.vocabulary = 4001;
  config.hidden = hidden;
  config.intermediate = hidden * 3;
  config.layers = 3;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.context_length = 2048;
  config.rope.theta = 500000.0;
  return config;
}

ModelConfig QwenShape() {
  ModelConfig config = Shape(896, 14, 2, 64);
  config.architecture = Architecture::kQwen2;
  config.qkv_bias = true;
  config.tied_embeddings = true;
  return config;
}

ModelConfig NormedHeads() {
  ModelConfig config = Shape(512, 8, 4, 128);
  config.architecture = Architecture::kQwen3;
  config.qk_norm = true;
  return config;
}

/// The same batch on one backend: prompts of different lengths, each with an adapter or none.
class Side {
 public:
  Side(std::unique_ptr<device::Device> device, const ModelConfig& config,
       const checkpoint::TensorSource& tensors, const TransformerOptions& options,
       std::vector<naive::Adapter> adapters)
      : engine_(std::move(device), config, &tensors, options, 2000),
        adapters_(std::move(adapters)) {
    for (naive::Adapter& adapter : adapters_)
      adapter.Pack(config, engine_.transformer().tile_packer());
    for (uint32_t i = 0; i < 20; ++i) {
      TestSequence sequence{
          .tokens = RandomTokens(5 + static_cast<int32_t>(i * 37 % 150), config.vocabulary, i)};
      if (i % 4 != 3) sequence.adapter = adapters_[i % adapters_.size()].table;
      sequences_.push_back(std::move(sequence));
    }
  }

  std::vector<ops::SampledToken> Prefill() {
    std::vector<int32_t> rows;
    std::vector<ops::SampledToken> last;
    for (const TestSequence& sequence : sequences_)
      rows.push_back(static_cast<int32_t>(sequence.tokens.size()));
    const auto all = Step(rows);
    size_t end = 0;
    for (const int32_t count : rows) last.push_back(all[(end += static_cast<size_t>(count)) - 1]);
    return last;
  }
  /// Every sequence goes on with the token given for it.
  std::vector<ops::SampledToken> Decode(const std::vector<TokenId>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) sequences_[i].tokens.push_back(tokens[i]);
    return Step(std::vector<int32_t>(tokens.size(), 1));
  }

 private:
  std::vector<ops::SampledToken> Step(const std::vector<int32_t>& rows) {
    std::vector<TestSequence*> pointers;
    for (TestSequence& sequence : sequences_) pointers.push_back(&sequence);
    return engine_.Step(pointers, rows, 2);
  }

  TestEngine engine_;
  std::vector<naive::Adapter> adapters_;
  std::vector<TestSequence> sequences_;
};

std::vector<naive::Adapter> Adapters(const ModelConfig& config) {
  const std::vector<Projection> every(kAllProjections.begin(), kAllProjections.end());
  std::vector<naive::Adapter> adapters;
  uint32_t seed = 40;
  for (const int32_t rank : {1, 8, 24, 64, 128, 256})
    adapters.push_back(naive::RandomAdapter(
        config, DType::kBFloat16, rank,
        rank % 3 == 0 ? std::vector{Projection::kQ, Projection::kDown} : every, seed++));
  return adapters;
}

class BackendsTest : public ::testing::TestWithParam<ModelConfig> {};

TEST_P(BackendsTest, ChooseTheSameTokensWhereOneLeadsClearly) {
  if (!device::TestsRunOnCuda()) GTEST_SKIP() << "WEFT_TEST_DEVICE is not cuda";
  const ModelConfig& config = GetParam();
  const auto tensors = naive::RandomModel(config, DType::kBFloat16, 30);
  TransformerOptions options;
  options.threads = 8;
  options.max_rows = 2048;
  options.max_logits_rows = 2048;
  Side cpu(device::CreateCpuDevice(), config, *tensors, options, Adapters(config));
  Side cuda(device::CreateDeviceForTest(), config, *tensors, options, Adapters(config));
  auto expected = cpu.Prefill();
  auto actual = cuda.Prefill();
  int clear = 0;
  for (int step = 0; step < 24; ++step) {
    std::vector<TokenId> next;
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "step " << step << ", sequence " << i);
      ASSERT_TRUE(expected[i].valid && actual[i].valid);
      EXPECT_NEAR(expected[i].top[0].second, actual[i].top[0].second, 0.2);
      if (expected[i].top[0].second - expected[i].top[1].second > kClearLead) {
        EXPECT_EQ(actual[i].token, expected[i].token);
        ++clear;
      }
      next.push_back(expected[i].token);
    }
    expected = cpu.Decode(next);
    actual = cuda.Decode(next);
  }
  EXPECT_GT(clear, 200);  // Of 480: else the test would say little.
}

INSTANTIATE_TEST_SUITE_P(Shapes, BackendsTest,
                         ::testing::Values(Shape(576, 9, 3, 64), Shape(1024, 8, 2, 128),
                                           Shape(640, 10, 10, 64), Shape(384, 4, 1, 96),
                                           QwenShape(), NormedHeads()),
                         [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace weft::model
