// A step is queued while the GPU is busy: nothing waits for the step before.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>

#include "base/thread_role.h"
#include "device/cuda/cuda_device.h"
#include "ops/cuda/busy_gpu_for_test.h"
#include "ops/cuda/cuda_operators.h"

namespace weft::ops::cuda {
namespace {

constexpr int kPages = 8;
constexpr LayerIndex kLayer(0);

ModelConfig Config() {
  ModelConfig config;
  config.name = "tiny";
  config.vocabulary = 64;
  config.hidden = 64;
  config.intermediate = 128;
  config.layers = 1;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.context_length = 64;
  return config;
}

/// A model of one layer, and steps of one sequence of it.
class StepsAtOnceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto device = device::cuda::CreateDevice(AssertMayBlock);
    if (!device.ok()) GTEST_SKIP() << device.error().message;
    device_ = std::move(device).value();
    OperatorsOptions options;
    options.max_rows = options.max_sequences = options.max_logits_rows = 4;
    options.kv = KvLayout::For(config_, DType::kBFloat16, 0);
    operators_ = std::move(CudaOperators::Create(*device_, config_, options)).value();
    arena_ = std::move(device_->AllocateDevice(kPages * options.kv.page_bytes)).value();
    embedding_ = Weight(config_.vocabulary, config_.hidden);
    attention_.q = Weight(64, 64);
    attention_.k = Weight(32, 64);
    attention_.v = Weight(32, 64);
    attention_.output = Weight(64, 64);
    mlp_.gate = Weight(128, 64);
    mlp_.up = Weight(128, 64);
    mlp_.down = Weight(64, 128);
    head_ = Weight(config_.vocabulary, config_.hidden);
    operators_->BindPages(arena_.data(), kPages);
    params_->temperature = 0.0F;
  }

  std::unique_ptr<Matrix> Weight(int32_t out, int32_t in) {
    auto matrix = std::move(operators_->CreateMatrix(out, in)).value();
    std::vector<float> values;
    for (int32_t i = 0; i < out * in; ++i) {
      seed_ = seed_ * 1664525 + 1013904223;
      values.push_back(static_cast<float>(seed_ >> 8) / (1 << 24) - 0.5F);
    }
    matrix->SetRows(0, out, values);
    return matrix;
  }

  /// Everything of a step but waiting for it. Token ~0: what the step before chose.
  void Queue(TokenId token, int32_t position, SampledToken* into) {
    const std::vector<PageIndex> pages = {PageIndex(1), PageIndex(2)};
    const std::vector<SequenceRows> sequences = {{0, 1, position, pages, nullptr}};
    operators_->BeginStep({std::span(&token, 1), sequences});
    operators_->Embed(*embedding_);
    operators_->RmsNorm(norm_);
    operators_->ProjectQkv(kLayer, attention_);
    operators_->Attend(kLayer);
    operators_->ProjectOutput(kLayer, attention_);
    operators_->RmsNorm(norm_);
    operators_->ProjectGateUp(kLayer, mlp_);
    operators_->ProjectDown(kLayer, mlp_);
    const int32_t row = 0;
    operators_->Logits(std::span(&row, 1), norm_, *head_);
    SampleRow sample;
    sample.params = params_;
    sample.position = position + 1;
    operators_->Sample(std::span(&sample, 1), std::span(into, 1));
    operators_->FinishStep();
  }

  const ModelConfig config_ = Config();
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<Operators> operators_;
  device::Buffer arena_;
  std::unique_ptr<Matrix> embedding_, head_;
  AttentionWeights attention_;
  MlpWeights mlp_;
  const std::vector<float> norm_ = std::vector<float>(64, 1.0F);
  const std::shared_ptr<SamplingParams> params_ = std::make_shared<SamplingParams>();
  uint32_t seed_ = 3;
};

TEST_F(StepsAtOnceTest, AStepIsQueuedWhileTheGpuIsBusyAndTakesTheTokenOfTheOneBefore) {
  // One by one: eager, recorded, replayed. The last two are what is repeated below.
  SampledToken expected[4];
  TokenId token = 7;
  for (int32_t step = 0; step < 4; ++step) {
    Queue(token, step, &expected[step]);
    operators_->AwaitStep();
    token = expected[step].token;
  }
  EXPECT_NE(expected[1].token, expected[2].token);  // Else the test would say little.

  BusyGpu gpu;
  ASSERT_TRUE(gpu.is_full());
  SampledToken actual[2];
  auto queued = std::async(std::launch::async, [&] {
    Queue(expected[1].token, 2, &actual[0]);
    Queue(~0, 3, &actual[1]);
  });
  EXPECT_EQ(queued.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_TRUE(gpu.is_full());
  gpu.Release();
  queued.get();
  for (int32_t step = 0; step < 2; ++step) {
    operators_->AwaitStep();
    EXPECT_EQ(actual[step].token, expected[step + 2].token);
    EXPECT_EQ(actual[step].logprob, expected[step + 2].logprob);
  }
}

}  // namespace
}  // namespace weft::ops::cuda
