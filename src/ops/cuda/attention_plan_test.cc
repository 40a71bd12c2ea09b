#include "ops/cuda/attention_plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <set>

namespace weft::ops::cuda {
namespace {

/// Reads a plan as the kernels do, and counts what is computed.
class ReadPlan {
 public:
  ReadPlan(const AttentionPlanner& planner, const AttentionShape& shape)
      : layout_(planner.layout()),
        group_(shape.heads / shape.kv_heads),
        bytes_(static_cast<size_t>(planner.plan_bytes()), std::byte{0xff}) {}

  std::byte* data() { return bytes_.data(); }
  int32_t At(int64_t array, int32_t index) const {
    int32_t value;
    std::memcpy(&value, &bytes_[static_cast<size_t>(array + index * 4)], 4);
    return value;
  }

  /// How often each (row, token it may see) is taken: once, if the plan is right.
  std::map<std::pair<int32_t, int32_t>, int> Count(const AttentionLaunch& launch) const {
    std::map<std::pair<int32_t, int32_t>, int> counts;
    for (const AttentionPass& pass : launch.passes)
      for (int32_t i = pass.first_item; i < pass.first_item + pass.items; ++i)
        if (bytes_[static_cast<size_t>(layout_.item_valid + i)] == std::byte{1})
          CountItem(pass, i, counts);
    return counts;
  }

  /// Partial rows that a pass writes are those that it merges.
  void ExpectMergesWhatIsWritten(const AttentionPass& pass) const {
    std::set<int32_t> written;
    std::set<int32_t> merged;
    for (int32_t i = pass.first_item; i < pass.first_item + pass.items; ++i) {
      if (bytes_[static_cast<size_t>(layout_.item_valid + i)] != std::byte{1}) continue;
      const int32_t id = At(layout_.item_sequence, i);
      const int32_t chunk = At(layout_.chunk, pass.index);
      const int32_t chunks = (At(layout_.kv_length, id) + chunk - 1) / chunk;
      for (int32_t row = 0; row < At(layout_.row_count, id); ++row)
        written.insert(At(layout_.partial_begin, id) + row * chunks + At(layout_.item_chunk, i));
    }
    for (int32_t m = pass.first_merge; m < pass.first_merge + pass.merges; ++m)
      for (int32_t k = 0; k < At(layout_.merge_count, m); ++k)
        EXPECT_TRUE(merged.insert(At(layout_.merge_begin, m) + k).second);
    EXPECT_EQ(written, merged);
  }

 private:
  void CountItem(const AttentionPass& pass, int32_t item,
                 std::map<std::pair<int32_t, int32_t>, int>& counts) const {
    const int32_t id = At(layout_.item_sequence, item);
    const int32_t rows = At(layout_.row_count, id);
    const int32_t length = At(layout_.kv_length, id);
    const int32_t chunk = At(layout_.chunk, pass.index);
    const int32_t part = At(layout_.item_chunk, item);
    const bool split = pass.split || pass.decode;
    const int32_t begin = split ? part * chunk : 0;
    const int32_t end = split ? std::min(begin + chunk, length) : length;
    const int32_t tile = At(layout_.item_tile, item);
    for (int32_t packed = tile * pass.tile_rows;
         packed < std::min((tile + 1) * pass.tile_rows, rows * group_); ++packed) {
      if (packed % group_ != 0) continue;
      const int32_t row = packed / group_;
      for (int32_t token = begin; token < std::min(end, length - rows + row + 1); ++token)
        ++counts[{At(layout_.first_row, id) + row, token}];
    }
  }

  const AttentionPlanLayout& layout_;
  const int32_t group_;
  std::vector<std::byte> bytes_;
};

std::vector<AttentionSequence> RandomSequences(std::mt19937& random, bool decode, int32_t* rows) {
  static const std::vector<PageIndex> pages(4096, PageIndex(7));
  std::vector<AttentionSequence> sequences;
  *rows = 0;
  const auto count = 1 + random() % 12;
  for (size_t i = 0; i < count; ++i) {
    AttentionSequence sequence;
    sequence.first_row = *rows;
    sequence.rows = decode || random() % 2 == 0 ? 1 : 1 + static_cast<int32_t>(random() % 60);
    sequence.position = static_cast<int32_t>(random() % (random() % 4 == 0 ? 9000 : 300));
    sequence.pages = std::span(pages).first(4096 - i);
    *rows += sequence.rows;
    sequences.push_back(sequence);
  }
  return sequences;
}

TEST(AttentionPlan, EveryRowSeesEveryTokenOnce) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const AttentionShape shape{24, round % 3 == 0 ? 24 : round % 3 == 1 ? 8 : 1, 128, 16};
    const AttentionLimits limits{.max_rows = 800,
                                 .max_pages = 8192,
                                 .max_context = 16384,
                                 .multiprocessors = 132,
                                 .deterministic = round % 2 == 1};
    const AttentionPlanner planner(shape, limits);
    ReadPlan plan(planner, shape);
    const bool graph = round % 5 == 0;
    int32_t rows = 0;
    const auto sequences = RandomSequences(random, graph, &rows);
    AttentionLaunch launch;
    if (graph)
      planner.PlanDecode(sequences, 64, plan.data(), &launch);
    else
      planner.Plan(sequences, plan.data(), &launch);
    const auto counts = plan.Count(launch);
    size_t pairs = 0;
    for (const auto& sequence : sequences)
      for (int32_t row = 0; row < sequence.rows; ++row)
        pairs += static_cast<size_t>(sequence.position + row + 1);
    ASSERT_EQ(counts.size(), pairs) << round;
    for (const auto& [pair, times] : counts) ASSERT_EQ(times, 1) << round;
    for (const AttentionPass& pass : launch.passes)
      if (pass.split && !pass.decode) plan.ExpectMergesWhatIsWritten(pass);
  }
}

TEST(AttentionPlan, AGraphHasItemsForItsSequencesAndItsSpareRows) {
  const AttentionShape shape{32, 8, 128, 16};
  const AttentionLimits limits{
      .max_rows = 64, .max_pages = 8192, .max_context = 16384, .multiprocessors = 132};
  const AttentionPlanner planner(shape, limits);
  const std::vector<PageIndex> pages(4096, PageIndex(7));
  ReadPlan plan(planner, shape);
  for (const int32_t bucket : {1, 2, 8, 16, 24, 32, 64})
    for (int32_t count = 1; count <= bucket; ++count)
      for (const int32_t tokens : {1, 300, 1000, 1900, 3000}) {
        std::vector<AttentionSequence> sequences;
        for (int32_t i = 0; i < count; ++i)
          sequences.push_back({i, 1, std::max(0, tokens - i * 97),
                               std::span(pages).first(static_cast<size_t>(1000 + i))});
        AttentionLaunch launch;
        planner.PlanDecode(sequences, bucket, plan.data(), &launch);
        ASSERT_EQ(launch.passes.size(), 1u);
      }
}

TEST(AttentionPlan, FewLongDecodesAreSplitAndManyAreNot) {
  const AttentionShape shape{32, 8, 128, 16};
  const AttentionLimits limits{
      .max_rows = 512, .max_pages = 65536, .max_context = 131072, .multiprocessors = 132};
  const AttentionPlanner planner(shape, limits);
  std::vector<std::byte> plan(static_cast<size_t>(planner.plan_bytes()));
  const std::vector<PageIndex> pages(4096, PageIndex(1));
  const auto decode = [&](int32_t count, int32_t tokens) {
    std::vector<AttentionSequence> sequences;
    for (int32_t i = 0; i < count; ++i) sequences.push_back({i, 1, tokens - 1, pages});
    AttentionLaunch launch;
    planner.Plan(sequences, plan.data(), &launch);
    return launch.passes.at(0);
  };
  EXPECT_GE(decode(1, 32768).items, 16);  // Times 8 kv heads: a block for each multiprocessor.
  EXPECT_GE(decode(4, 4096).items, 16);
  EXPECT_EQ(decode(16, 1024).items, 16);
  EXPECT_TRUE(decode(16, 1024).decode);
  EXPECT_TRUE(decode(16, 1024).wide);
  EXPECT_EQ(decode(24, 1024).items, 2 * 24);  // Narrow blocks: three at once.
  EXPECT_FALSE(decode(24, 1024).wide);
  EXPECT_FALSE(decode(256, 512).decode);
  EXPECT_FALSE(decode(256, 512).split);
  EXPECT_FALSE(decode(3, 100).split);
}

TEST(AttentionPlan, FixedOrderSplitsAlikeInAnyBatch) {
  const AttentionShape shape{32, 8, 128, 16};
  const AttentionLimits limits{.max_rows = 512,
                               .max_pages = 65536,
                               .max_context = 131072,
                               .multiprocessors = 132,
                               .deterministic = true};
  const AttentionPlanner planner(shape, limits);
  std::vector<std::byte> plan(static_cast<size_t>(planner.plan_bytes()));
  const std::vector<PageIndex> pages(8192, PageIndex(1));
  const std::vector<AttentionSequence> sequences = {
      {0, 1, 100, pages}, {1, 300, 120000, pages}, {301, 100, 0, pages}};
  AttentionLaunch launch;
  planner.Plan(sequences, plan.data(), &launch);
  EXPECT_GT(launch.passes.size(), 5u);  // 300 rows of 118 parts each exceed the scratch memory.
  for (const AttentionPass& pass : launch.passes) {
    EXPECT_EQ(pass.tile_rows, launch.passes[0].tile_rows);
    int32_t chunk;
    std::memcpy(&chunk, &plan[static_cast<size_t>(planner.layout().chunk + pass.index * 4)], 4);
    EXPECT_EQ(chunk, 1024);
  }
}

}  // namespace
}  // namespace weft::ops::cuda
