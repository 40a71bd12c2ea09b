#include "ops/cuda/lora_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>
#include <vector>

namespace weft::ops::cuda {
namespace {

constexpr int kProcessors = 132;

const LoraShape kShape = {
    2, {4096, 4096, 4096, 4096, 4096, 4096, 14336}, {4096, 1024, 1024, 4096, 14336, 14336, 4096}};

ResidentLora Adapter(uint64_t table, uint8_t tiles) {
  return {table, {tiles, tiles, tiles, tiles, tiles, tiles, tiles}, tiles};
}

struct Built {
  std::unique_ptr<LoraStep> step = std::make_unique<LoraStep>();
  std::vector<int32_t> numbers;
  LoraStepPlan plan;
};

Built Build(std::span<const LoraRows> sequences) {
  Built built;
  int32_t rows = 0;
  for (const LoraRows& sequence : sequences) rows += sequence.rows;
  built.numbers.assign(static_cast<size_t>(rows), -1);
  built.plan = BuildLoraStep(kShape, sequences, kProcessors, *built.step, built.numbers);
  return built;
}

int32_t Units(const Built& built, int op, LoraWork work) {
  return built.step->operators[op].begin[static_cast<size_t>(work)][kMaxLoraEntries];
}

TEST(LoraStep, RowsOfAnAdapterComeTogetherWhereverTheyStand) {
  const ResidentLora a = Adapter(0x1000, 8);
  const ResidentLora b = Adapter(0x2000, 1);
  const std::vector<LoraRows> sequences = {
      {0, 1, &a}, {1, 2, &b}, {3, 1, nullptr}, {4, 2, &a}, {6, 1, nullptr}};
  const Built built = Build(sequences);
  EXPECT_EQ(built.numbers, (std::vector<int32_t>{3, 6, 0, 4, 5, 1, 2}));
  const LoraEntry* entries = built.step->operators[0].entries;  // q, k, v of each group.
  EXPECT_EQ(entries[0].table, 0U);
  EXPECT_EQ(entries[3].table, a.table);
  EXPECT_EQ(entries[3].first, 2);
  EXPECT_EQ(entries[3].rows, 3);
  EXPECT_EQ(entries[5].index, 2);
  EXPECT_EQ(entries[6].table, b.table);
  EXPECT_EQ(entries[6].first, 5);
  EXPECT_TRUE(built.plan.any);
  EXPECT_TRUE(built.plan.decode);
  EXPECT_FALSE(built.plan.prefill);
}

TEST(LoraStep, CountsTheUnitsOfDecodeAndPrefill) {
  const ResidentLora few = Adapter(0x1000, 8);
  const ResidentLora many = Adapter(0x2000, 9);
  const std::vector<LoraRows> sequences = {{0, 2, &few}, {2, 300, &many}, {302, 20, nullptr}};
  const Built built = Build(sequences);
  // Eight tiles over 14 splits, and over 4 for q, k and v.
  EXPECT_EQ(Units(built, 3, LoraWork::kDecodeShrink), 14 * 8);
  EXPECT_EQ(Units(built, 0, LoraWork::kDecodeShrink), 3 * 4 * 8);
  // Two blocks of zeros for the base model's 20 rows, in ranges of 2,048; then 128 outputs each.
  EXPECT_EQ(Units(built, 3, LoraWork::kDecodeExpand), 2 * 2 + 4096 / 128);
  // Three blocks of 128 rows, two of 8 tiles, 14 splits.
  EXPECT_EQ(Units(built, 3, LoraWork::kPrefillShrink), 3 * 2 * 14);
  EXPECT_EQ(Units(built, 3, LoraWork::kPrefillReduce), (9 * 300 * 4 + 1023) / 1024);
  EXPECT_EQ(Units(built, 3, LoraWork::kPrefillExpand), 3 * 4096 / 256);
  EXPECT_TRUE(built.plan.prefill);
}

TEST(LoraStep, EveryUnitIsInExactlyOneShare) {
  std::vector<ResidentLora> adapters;
  for (int i = 0; i < 64; ++i)
    adapters.push_back(Adapter(0x1000 + 16 * static_cast<uint64_t>(i),
                               static_cast<uint8_t>(i % 3 == 1 ? 0 : i % 9)));
  std::vector<LoraRows> sequences = {{0, 3, nullptr}};
  for (int i = 0; i < 64; ++i)
    sequences.push_back({3 + 10 * i, i % 7 == 0 ? 40 : 1, &adapters[static_cast<size_t>(i)]});
  const Built built = Build(sequences);
  for (int op = 0; op < kLoraOperators; ++op)
    for (int work = 0; work < kLoraWorks; ++work) {
      const LoraOperatorStep& from = built.step->operators[op];
      const int blocks = LoraBlocks(static_cast<LoraWork>(work), kProcessors);
      int32_t next = 0;
      int32_t least = INT32_MAX;
      int32_t most = 0;
      for (int block = 0; block < blocks; ++block) {
        const LoraStart& start = work < kDecodeWorks
                                     ? built.step->decode[op][work][block]
                                     : built.step->prefill[op][work - kDecodeWorks][block];
        least = std::min(least, start.count);
        most = std::max(most, start.count);
        if (start.count == 0) continue;
        ASSERT_EQ(from.begin[work][start.number] + start.unit, next);
        ASSERT_LT(start.unit, start.units);
        ASSERT_EQ(start.units, from.begin[work][start.number + 1] - from.begin[work][start.number]);
        ASSERT_EQ(start.entry.table, from.entries[start.number].table);
        ASSERT_EQ(start.entry.scratch, from.entries[start.number].scratch);
        next += start.count;
      }
      EXPECT_EQ(next, from.begin[work][kMaxLoraEntries]);
      EXPECT_LE(most - least, 1);
    }
}

TEST(LoraStep, ScratchOfEntriesDoesNotOverlapAndHasABound) {
  std::vector<ResidentLora> adapters;
  for (int i = 0; i < 64; ++i)
    adapters.push_back(Adapter(0x1000 + 16 * static_cast<uint64_t>(i), 16));
  std::vector<LoraRows> sequences;
  int32_t row = 0;
  for (int i = 0; i < 64; ++i) {
    const int32_t rows = 1 + i;
    sequences.push_back({row, rows, &adapters[static_cast<size_t>(i)]});
    row += rows;
  }
  const Built built = Build(sequences);
  EXPECT_LE(built.plan.scratch_floats, LoraScratchFloats(kShape, row, 256));
  for (int op = 0; op < kLoraOperators; ++op) {
    const LoraOperatorStep& from = built.step->operators[op];
    for (int entry = kOperatorProjections[op]; entry + 1 < 65 * kOperatorProjections[op]; ++entry) {
      const LoraEntry& each = from.entries[entry];
      const int in = kShape.in[static_cast<size_t>(kFirstProjection[op])];
      ASSERT_GE(from.entries[entry + 1].scratch,
                each.scratch + LoraSplits(in) * each.tiles * each.rows);
    }
  }
}

TEST(LoraStep, AStepWithoutAdaptersSaysSo) {
  const std::vector<LoraRows> sequences = {{0, 5, nullptr}};
  const Built built = Build(sequences);
  EXPECT_FALSE(built.plan.any);
  EXPECT_EQ(built.plan.scratch_floats, 0);
}

TEST(LoraTable, HoldsTilesAndScalingsByLayerAndProjection) {
  alignas(16) static std::byte pool[64];
  AdapterTable adapter;
  adapter.tiles = {{pool, pool + 16, 16}, {pool + 32, pool + 48, 8}};
  for (int i = 0; i < 3 * kLoraProjections; ++i)
    adapter.modules.push_back(
        {i == 9 ? std::span<const LoraTile>(adapter.tiles) : std::span<const LoraTile>(),
         static_cast<float>(i)});
  std::vector<std::byte> table(static_cast<size_t>(LoraTableBytes(adapter)));
  WriteLoraTable(adapter, table);
  LoraTableModule module_read;
  std::memcpy(&module_read, table.data() + 9 * sizeof(module_read), sizeof(module_read));
  EXPECT_EQ(module_read.scaling, 9.0F);
  EXPECT_EQ(module_read.tiles, 2);
  EXPECT_EQ(module_read.last_width, 8);
  LoraTableTile tile;
  // 21 modules, rounded up to 22; two tiles a module.
  std::memcpy(&tile, table.data() + 22 * sizeof(module_read) + (9 * 2 + 1) * sizeof(tile),
              sizeof(tile));
  EXPECT_EQ(tile.a, reinterpret_cast<uint64_t>(pool + 32));
  EXPECT_EQ(tile.b, reinterpret_cast<uint64_t>(pool + 48));
  const ResidentLora resident = DescribeLora(adapter, 0x4000);
  EXPECT_EQ(resident.tiles[2], 2);
  EXPECT_EQ(resident.tiles[3], 0);
  EXPECT_EQ(resident.table_tiles, 2);
}

}  // namespace
}  // namespace weft::ops::cuda
