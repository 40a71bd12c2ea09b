#include "ops/cuda/attention.h"

#include <gtest/gtest.h>

#include "ops/cuda/paged_batch_for_test.h"
#include "ops/cuda/step_slot.h"

namespace weft::ops::cuda {
namespace {

AttentionLimits LimitsFor(bool deterministic) {
  return {.max_rows = 2100,
          .max_pages = 4096,
          .max_context = 32768,
          .multiprocessors = 132,
          .deterministic = deterministic};
}

/// A planner and its attention, with memory for both.
struct Runner {
  Runner(const AttentionShape& shape, bool deterministic)
      : planner(shape, LimitsFor(deterministic)),
        attention(shape, planner),
        slot(planner.plan_bytes()),
        plan(planner.plan_bytes()),
        scratch(attention.scratch_bytes()) {
    EXPECT_EQ(attention.Prepare(), cudaSuccess);
    beside.Create(0);
    plan.Poison();
    scratch.Poison();
  }

  std::vector<uint16_t> Run(const PagedBatch& batch, std::span<const AttentionSequence> sequences) {
    DeviceBytes queries(static_cast<int64_t>(batch.queries().size() * 2));
    queries.Put(batch.queries());
    DeviceBytes out(queries.bytes());
    out.Poison();
    planner.Plan(sequences, slot.data(), &launch);
    EXPECT_EQ(LaunchSlotUpload(slot.data(), plan.data(), nullptr), cudaSuccess);
    AttentionParams params = batch.Params();
    params.queries = queries.data();
    params.out = out.data();
    params.plan = plan.data();
    params.scratch = scratch.data();
    EXPECT_EQ(attention.Run(params, launch, nullptr, beside), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return out.Get<uint16_t>(batch.queries().size());
  }

  AttentionPlanner planner;
  PagedAttention attention;
  SideStream beside;
  PinnedBytes slot;
  DeviceBytes plan;
  DeviceBytes scratch;
  AttentionLaunch launch;
};

const std::vector<TestSequence> kDecodes = {{1, 0},  {1, 14},  {1, 15},   {1, 16},
                                            {1, 17}, {1, 300}, {1, 1023}, {1, 3000}};
const std::vector<TestSequence> kMixed = {{1, 40},   {200, 0}, {1, 900}, {37, 100},
                                          {3, 1500}, {1, 1},   {65, 63}, {16, 2047}};

class AttentionShapes : public ::testing::TestWithParam<AttentionShape> {};

TEST_P(AttentionShapes, DecodesMatchTheDefinition) {
  PagedBatch batch(GetParam(), kDecodes, 1);
  Runner runner(GetParam(), false);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 6);
}

TEST_P(AttentionShapes, StepsOfDecodesAndPrefillMatchTheDefinition) {
  PagedBatch batch(GetParam(), kMixed, 2);
  Runner runner(GetParam(), false);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 12);
}

TEST_P(AttentionShapes, FixedOrderMatchesTheDefinition) {
  PagedBatch batch(GetParam(), kMixed, 3);
  Runner runner(GetParam(), true);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 12);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionShapes,
    ::testing::Values(AttentionShape{32, 8, 128, 16}, AttentionShape{9, 3, 64, 48},
                      AttentionShape{14, 2, 64, 16}, AttentionShape{10, 2, 128, 32},
                      AttentionShape{28, 4, 128, 16}, AttentionShape{6, 6, 128, 16},
                      AttentionShape{12, 6, 64, 16}, AttentionShape{18, 3, 128, 16},
                      AttentionShape{24, 3, 128, 16}, AttentionShape{48, 2, 128, 16},
                      AttentionShape{8, 8, 80, 16}, AttentionShape{6, 2, 96, 32},
                      AttentionShape{8, 2, 256, 16}, AttentionShape{4, 4, 16, 16}));

TEST(Attention, LongSequencesAndManyRows) {
  const AttentionShape shape{32, 8, 128, 16};
  PagedBatch batch(shape, {{1, 20000}, {2000, 0}, {1, 8191}}, 4);
  for (const bool deterministic : {false, true}) {
    Runner runner(shape, deterministic);
    batch.ExpectRight(runner.Run(batch, batch.sequences()), 8);
  }
}

/// More than wide blocks take, so in narrow ones, some in several parts.
TEST(Attention, TwentyFourDecodesMatchTheDefinition) {
  const AttentionShape shape{32, 8, 128, 16};
  std::vector<TestSequence> sequences;
  for (int32_t i = 0; i < 24; ++i) sequences.push_back({1, i * i * 4 % 2100});
  PagedBatch batch(shape, sequences, 9);
  Runner runner(shape, false);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 6);
  EXPECT_TRUE(runner.launch.passes.at(0).decode && !runner.launch.passes.at(0).wide);
}

TEST(Attention, ManyDecodesMatchTheDefinition) {
  const AttentionShape shape{32, 8, 128, 16};
  std::vector<TestSequence> sequences;
  for (int32_t i = 0; i < 70; ++i) sequences.push_back({1, i * i % 700});
  sequences.push_back({1, 6000});
  PagedBatch batch(shape, sequences, 8);
  Runner runner(shape, false);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 3);
  EXPECT_FALSE(runner.launch.passes.at(0).decode);
}

TEST(Attention, DecodesRunBesidePrefillsUnlessBothKeepPartialResults) {
  const AttentionShape shape{32, 8, 128, 16};
  const auto run = [&](const std::vector<TestSequence>& sequences) {
    PagedBatch batch(shape, sequences, 10);
    Runner runner(shape, false);
    batch.ExpectRight(runner.Run(batch, batch.sequences()), 8);
    return runner.launch.MayRunBeside();
  };
  EXPECT_TRUE(run({{1, 900}, {1, 0}, {700, 0}, {1, 5000}, {300, 64}}));
  EXPECT_FALSE(run({{1, 20000}, {40, 12000}}));
}

TEST(Attention, SplitPrefillBehindALongPrefix) {
  const AttentionShape shape{16, 4, 128, 16};
  PagedBatch batch(shape, {{40, 12000}, {300, 6000}}, 5);
  Runner runner(shape, false);
  batch.ExpectRight(runner.Run(batch, batch.sequences()), 10);
  EXPECT_TRUE(runner.launch.passes.back().split);
}

/// The rows of `sequence` in `out`.
std::vector<uint16_t> RowsOf(const std::vector<uint16_t>& out, const AttentionSequence& sequence,
                             int32_t row_elements) {
  return {out.begin() + int64_t{sequence.first_row} * row_elements,
          out.begin() + (int64_t{sequence.first_row} + sequence.rows) * row_elements};
}

class AttentionInFixedOrder : public testing::TestWithParam<AttentionShape> {};

TEST_P(AttentionInFixedOrder, GivesTheSameBitsInAnyBatchAndAnyCut) {
  const AttentionShape& shape = GetParam();
  PagedBatch batch(shape, {{1, 40}, {500, 2500}, {1, 5000}, {300, 0}, {1, 1023}}, 6);
  Runner runner(shape, true);
  const auto together = runner.Run(batch, batch.sequences());
  for (const auto& sequence : batch.sequences()) {
    const auto alone = runner.Run(batch, {&sequence, 1});
    ASSERT_EQ(RowsOf(together, sequence, batch.row_elements()),
              RowsOf(alone, sequence, batch.row_elements()));
    // The same rows one by one, as if decoded.
    for (const int32_t row : {0, 1, sequence.rows / 2, sequence.rows - 1}) {
      if (row >= sequence.rows) continue;
      AttentionSequence one = sequence;
      one.first_row += row;
      one.position += row;
      one.rows = 1;
      ASSERT_EQ(RowsOf(together, one, batch.row_elements()),
                RowsOf(runner.Run(batch, {&one, 1}), one, batch.row_elements()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionInFixedOrder,
                         testing::Values(AttentionShape{32, 8, 128, 16},
                                         AttentionShape{9, 3, 64, 48},
                                         AttentionShape{6, 2, 96, 16}));

/// One captured graph, replayed with plans of other sequences.
void ReplayDecodes(bool deterministic, int32_t bucket) {
  const AttentionShape shape{32, 8, 128, 16};
  Runner runner(shape, deterministic);
  PagedBatch batch(shape, {{1, 5}, {1, 700}, {1, 2500}, {1, 31}, {1, 1200}}, 7);
  DeviceBytes queries(int64_t{bucket} * batch.row_elements() * 2);
  queries.Poison();
  queries.Put(batch.queries());
  DeviceBytes out(queries.bytes());
  AttentionParams params = batch.Params();
  params.queries = queries.data();
  params.out = out.data();
  params.plan = runner.plan.data();
  params.scratch = runner.scratch.data();
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  runner.planner.PlanDecode({}, bucket, runner.slot.data(), &runner.launch);
  const auto captured = runner.launch.passes;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(runner.attention.Run(params, runner.launch, stream, runner.beside), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  for (size_t count = 0; count <= batch.sequences().size(); ++count) {
    const auto some = std::span(batch.sequences()).first(count);
    runner.planner.PlanDecode(some, bucket, runner.slot.data(), &runner.launch);
    ASSERT_EQ(runner.launch.passes, captured);
    out.Poison();
    runner.scratch.Poison();
    ASSERT_EQ(LaunchSlotUpload(runner.slot.data(), runner.plan.data(), stream), cudaSuccess);
    ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    const auto all = out.Get<uint16_t>(static_cast<size_t>(bucket * batch.row_elements()));
    for (size_t i = count * static_cast<size_t>(batch.row_elements()); i < all.size(); ++i)
      ASSERT_EQ(all[i], 0) << "padded row";
    if (count < batch.sequences().size()) continue;
    batch.ExpectRight({all.begin(), all.begin() + static_cast<int64_t>(batch.queries().size())}, 8);
    if (deterministic) {
      EXPECT_TRUE(std::equal(all.begin(),
                             all.begin() + static_cast<int64_t>(batch.queries().size()),
                             runner.Run(batch, batch.sequences()).begin()));
    }
  }
  (void)cudaGraphExecDestroy(executable);
  (void)cudaGraphDestroy(graph);
  (void)cudaStreamDestroy(stream);
}

TEST(Attention, OneGraphServesAnySequencesOfItsBucket) {
  ReplayDecodes(false, 16);
  ReplayDecodes(false, 24);  // Narrow blocks.
  ReplayDecodes(false, 64);  // FlashInfer's kernel, which decodes many.
}
TEST(Attention, OneGraphInFixedOrder) { ReplayDecodes(true, 16); }

TEST(Attention, SaysWhichHeadDimensionsItServes) {
  EXPECT_TRUE(PagedAttention::Serves(64));
  EXPECT_TRUE(PagedAttention::Serves(80));
  EXPECT_TRUE(PagedAttention::Serves(256));
  EXPECT_FALSE(PagedAttention::Serves(72));
  EXPECT_FALSE(PagedAttention::Serves(272));
  EXPECT_FALSE(PagedAttention::Serves(0));
}

}  // namespace
}  // namespace weft::ops::cuda
