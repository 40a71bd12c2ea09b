#include "model/step_profiler.h"

#include <gtest/gtest.h>

#include <vector>

#include "model/test_engine.h"

namespace weft::model {
namespace {

using std::chrono::milliseconds;

class SetClock final : public Clock {
 public:
  Moment Now() const override { return now; }
  Moment now{};
};

ModelConfig SmallConfig() {
  ModelConfig config;
  config.name = "small";
  config.vocabulary = 64;
  config.hidden = 32;
  config.intermediate = 64;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 16;
  config.context_length = 128;
  config.tied_embeddings = true;
  return config;
}

class StepProfilerTest : public testing::Test {
 protected:
  void Step(const std::vector<ops::SequenceRows>& sequences, Duration takes) {
    profiler_.Begin();
    clock_.now += takes;
    profiler_.Lap(StepPart::kQkv);
    clock_.now += milliseconds(1);
    profiler_.Lap(StepPart::kDown);
    profiler_.End({sequences, 1, 1});
  }
  KindProfile Read(StepKind kind) const {
    return profiler_.Read().kinds[static_cast<size_t>(kind)];
  }

  const ModelConfig config_ = SmallConfig();
  SetClock clock_;
  StepProfiler profiler_{config_, DType::kBFloat16, {}, clock_};
  const std::vector<ops::SequenceRows> decode_ = {{0, 1, 3, {}, nullptr}};
  const std::vector<ops::SequenceRows> prefill_ = {{0, 5, 0, {}, nullptr}};
  const std::vector<ops::SequenceRows> mixed_ = {{0, 1, 3, {}, nullptr}, {1, 5, 0, {}, nullptr}};
};

TEST_F(StepProfilerTest, KindsAreKeptApart) {
  Step(decode_, milliseconds(2));
  Step(prefill_, milliseconds(30));
  Step(mixed_, milliseconds(400));
  Step(decode_, milliseconds(4));
  const KindProfile decode = Read(StepKind::kDecode);
  EXPECT_EQ(decode.steps, 2u);
  EXPECT_EQ(decode.rows, 2u);
  EXPECT_EQ(decode[StepPart::kQkv].time, milliseconds(6));
  EXPECT_EQ(decode[StepPart::kQkv].calls, 2u);
  EXPECT_EQ(decode[StepPart::kDown].time, milliseconds(2));
  EXPECT_EQ(Read(StepKind::kPrefill)[StepPart::kQkv].time, milliseconds(30));
  EXPECT_EQ(Read(StepKind::kPrefill).rows, 5u);
  EXPECT_EQ(Read(StepKind::kMixed)[StepPart::kQkv].time, milliseconds(400));
  EXPECT_EQ(Read(StepKind::kMixed).rows, 6u);
}

TEST_F(StepProfilerTest, WorkIsThatOfTheFormulas) {
  Step(decode_, milliseconds(2));
  Step(decode_, milliseconds(2));
  Work twice = WorkOf(config_, DType::kBFloat16, {decode_, 1, 1})[size_t(StepPart::kQkv)];
  twice += twice;
  EXPECT_EQ(Read(StepKind::kDecode)[StepPart::kQkv].work, twice);
}

TEST_F(StepProfilerTest, TheTimeBetweenStepsIsPlannedHandedOverOrIdle) {
  Step(decode_, milliseconds(2));
  clock_.now += milliseconds(10);
  profiler_.Before({milliseconds(7), true});
  Step(decode_, milliseconds(2));
  clock_.now += milliseconds(100);
  profiler_.Before({milliseconds(8), false});  // The engine slept in between.
  Step(decode_, milliseconds(2));
  const KindProfile decode = Read(StepKind::kDecode);
  EXPECT_EQ(decode[StepPart::kPlan].time, milliseconds(15));
  EXPECT_EQ(decode[StepPart::kHandOver].time, milliseconds(3));
  EXPECT_EQ(decode[StepPart::kIdle].time, milliseconds(92));
  EXPECT_EQ(decode.busy(), milliseconds(9 + 15 + 3));
}

TEST_F(StepProfilerTest, NothingLiesBeforeTheFirstStep) {
  profiler_.Before({milliseconds(7), false});
  Step(decode_, milliseconds(2));
  EXPECT_EQ(Read(StepKind::kDecode)[StepPart::kPlan].calls, 0u);
  EXPECT_EQ(Read(StepKind::kDecode)[StepPart::kIdle].calls, 0u);
}

/// Every operator of the transformer has its lap.
TEST_F(StepProfilerTest, TheTransformerNamesEachOperator) {
  const SteadyClock clock;
  StepProfiler profiler(config_, DType::kBFloat16, {}, clock);
  TransformerOptions options;
  TestEngine engine(config_, nullptr, options);
  engine.transformer().SetProfiler(profiler);
  TestSequence sequence;
  sequence.tokens = {1, 2, 3, 4};
  engine.Reserve(sequence, 4);
  engine.Step({&sequence}, {3}, 0);
  engine.Step({&sequence}, {1}, 0);
  const Profile profile = profiler.Read();
  for (const KindProfile& kind :
       {profile.kinds[size_t(StepKind::kPrefill)], profile.kinds[size_t(StepKind::kDecode)]}) {
    EXPECT_EQ(kind.steps, 1u);
    for (const StepPart part :
         {StepPart::kPrepare, StepPart::kEmbed, StepPart::kLogits, StepPart::kSample})
      EXPECT_EQ(kind[part].calls, 1u) << StepPartName(part);
    for (const StepPart part : {StepPart::kQkv, StepPart::kAttention, StepPart::kOutput,
                                StepPart::kGateUp, StepPart::kDown})
      EXPECT_EQ(kind[part].calls, 2u) << StepPartName(part);
    EXPECT_EQ(kind[StepPart::kNorm].calls, 4u);
    EXPECT_GT(kind[StepPart::kQkv].time, Duration{});
  }
}

}  // namespace
}  // namespace weft::model
