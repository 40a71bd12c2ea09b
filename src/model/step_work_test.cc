#include "model/step_work.h"

#include <gtest/gtest.h>

#include <vector>

namespace weft::model {
namespace {

/// SmolLM2-135M's shape.
ModelConfig SmolLm2() {
  ModelConfig config;
  config.vocabulary = 49152;
  config.hidden = 576;
  config.intermediate = 1536;
  config.layers = 30;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.tied_embeddings = true;
  return config;
}

/// A step of these sequences that wants one row of logits of each.
StepWork Step(const std::vector<ops::SequenceRows>& sequences, DType dtype = DType::kBFloat16) {
  return WorkOf(SmolLm2(), dtype, {sequences, static_cast<int32_t>(sequences.size()), 1});
}

Work Sum(const StepWork& step) {
  Work sum;
  for (const Work& work : step) sum += work;
  return sum;
}

const Work& At(const StepWork& step, StepPart part) { return step[static_cast<size_t>(part)]; }

ops::SequenceRows Rows(int32_t rows, int32_t position, const ops::AdapterTable* adapter = nullptr) {
  return {0, rows, position, {}, adapter};
}

TEST(StepWorkTest, ADecodeStepReadsTheWholeModel) {
  // 134,515,008 parameters of two bytes; the norms in float, and one row of the embedding twice.
  const Bytes matrices = 2 * (134'515'008 - 61 * 576);
  const Work one = Sum(Step({Rows(1, 0)}));
  EXPECT_EQ(one.weights, matrices + 61 * 576 * 4 + 576 * 2);
  EXPECT_NEAR(static_cast<double>(one.weights), 269e6, 0.2e6);
  EXPECT_NEAR(one.operations, 0.27e9, 0.001e9);  // Two for each parameter.
  // Eight sequences read it once, and compute eight times as much.
  const Work eight = Sum(Step(std::vector<ops::SequenceRows>(8, Rows(1, 0))));
  EXPECT_EQ(eight.weights - one.weights, 7 * 576 * 2);
  EXPECT_DOUBLE_EQ(eight.operations, 8 * one.operations);
}

TEST(StepWorkTest, CodedMatricesAreReadAsTheyLieInMemory) {
  EXPECT_EQ(MatrixElements(SmolLm2()), 134'515'008 - 61 * 576);
  const std::vector<ops::SequenceRows> sequences = {Rows(1, 0)};
  const Work plain = Sum(Step(sequences));
  const Work coded = Sum(WorkOf(SmolLm2(), DType::kBFloat16, {sequences, 1, 1, 0.75}));
  const Bytes norms = 61 * 576 * 4;
  EXPECT_EQ(4 * (coded.weights - norms), 3 * (plain.weights - norms));
  EXPECT_EQ(coded.operations, plain.operations);
}

TEST(StepWorkTest, FloatsAreTwiceAsLong) {
  const StepWork narrow = Step({Rows(1, 0)});
  const StepWork wide = Step({Rows(1, 0)}, DType::kFloat32);
  for (const StepPart part : {StepPart::kQkv, StepPart::kDown, StepPart::kEmbed})
    EXPECT_EQ(At(wide, part).weights, 2 * At(narrow, part).weights) << StepPartName(part);
}

TEST(StepWorkTest, AttentionReadsTheKvOfEveryTokenOnce) {
  // K and V of 3 heads of 64, 30 layers: 23,040 bytes a token.
  const Work decode = At(Step({Rows(1, 999)}), StepPart::kAttention);
  EXPECT_EQ(decode.kv, 1000 * 23'040);
  EXPECT_DOUBLE_EQ(decode.operations, 30.0 * 4 * 576 * 1000);
  // Token i of a prompt looks at i + 1 tokens.
  const Work prefill = At(Step({Rows(100, 0)}), StepPart::kAttention);
  EXPECT_EQ(prefill.kv, 100 * 23'040);
  EXPECT_DOUBLE_EQ(prefill.operations, 30.0 * 4 * 576 * (100 * 101 / 2));
  // The same in two pieces computes as much.
  const Work first = At(Step({Rows(60, 0)}), StepPart::kAttention);
  const Work second = At(Step({Rows(40, 60)}), StepPart::kAttention);
  EXPECT_DOUBLE_EQ(first.operations + second.operations, prefill.operations);
  EXPECT_EQ(At(Step({Rows(100, 0)}), StepPart::kQkv).kv, 100 * 23'040) << "written";
}

TEST(StepWorkTest, APromptTokenWithoutLogitsCostsNoHead) {
  const std::vector<ops::SequenceRows> sequences = {Rows(512, 0)};
  const StepWork work = WorkOf(SmolLm2(), DType::kBFloat16, {sequences, 0, 0});
  EXPECT_EQ(At(work, StepPart::kLogits), Work{});
  EXPECT_EQ(At(work, StepPart::kSample), Work{});
  const double products = Sum(work).operations - At(work, StepPart::kAttention).operations -
                          At(work, StepPart::kNorm).operations;
  EXPECT_NEAR(products / 512, 0.21e9, 0.003e9);
}

/// An adapter of one tile of 16 in every module of every layer.
ops::AdapterTable Rank16() {
  ops::AdapterTable table;
  table.tiles.resize(1);
  table.tiles[0].width = 16;
  table.modules.assign(30 * kProjectionCount, ops::LoraModule{table.tiles, 1.0F});
  return table;
}

TEST(StepWorkTest, AnAdapterIsReadOnceWhereverItsRowsAre) {
  const ops::AdapterTable table = Rank16();
  const ops::AdapterTable other = Rank16();
  // 16 x (in + out) of the seven projections, 30 layers, bf16.
  const Bytes elements =
      30 * 16 * (2 * (576 + 576) + 2 * (576 + 192) + 2 * (576 + 1536) + (1536 + 576));
  const Work one = Sum(Step({Rows(1, 0, &table)}));
  EXPECT_EQ(one.adapters, 2 * elements);
  const Work scattered = Sum(Step({Rows(1, 0, &table), Rows(1, 0), Rows(1, 5, &table)}));
  EXPECT_EQ(scattered.adapters, 2 * elements);
  const Work two = Sum(Step({Rows(1, 0, &table), Rows(1, 0, &other)}));
  EXPECT_EQ(two.adapters, 4 * elements);
  const Work base = Sum(Step({Rows(1, 0)}));
  EXPECT_DOUBLE_EQ(one.operations - base.operations, 2.0 * static_cast<double>(elements));
  EXPECT_EQ(At(Step({Rows(1, 0, &table)}), StepPart::kDown).adapters, 2 * 30 * 16 * (1536 + 576));
}

TEST(StepShapeTest, OneRowDecodesAndMorePrefill) {
  const std::vector<ops::SequenceRows> decode = {Rows(1, 7)};
  const std::vector<ops::SequenceRows> prefill = {Rows(2, 0)};
  EXPECT_TRUE((StepShape{decode, 1, 1}).has_decode());
  EXPECT_FALSE((StepShape{decode, 1, 1}).has_prefill());
  EXPECT_TRUE((StepShape{prefill, 1, 1}).has_prefill());
  EXPECT_FALSE((StepShape{prefill, 1, 1}).has_decode());
}

}  // namespace
}  // namespace weft::model
