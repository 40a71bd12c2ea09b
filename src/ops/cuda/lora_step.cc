#include "ops/cuda/lora_step.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace weft::ops::cuda {
namespace {

static_assert(kLoraProjections == kProjectionCount && kLoraTile == kRankTile);

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Units of one entry for each kind of work, and the scratch it needs, in kRankTile floats.
struct EntryWork {
  std::array<int64_t, kLoraWorks> units = {};
  int64_t scratch = 0;
};

int64_t& Units(EntryWork& work, LoraWork kind) { return work.units[static_cast<size_t>(kind)]; }

EntryWork WorkOf(int32_t rows, int32_t tiles, int32_t in, int32_t out) {
  EntryWork work;
  const int32_t splits = LoraSplits(in);
  if (tiles == 0) {
    Units(work, LoraWork::kDecodeExpand) = CeilDiv(rows, kZeroRows) * CeilDiv(out, kZeroOut);
  } else if (IsDecode(rows, tiles)) {
    Units(work, LoraWork::kDecodeShrink) = splits * tiles;
    Units(work, LoraWork::kDecodeExpand) = CeilDiv(out, DecodeOut(tiles));
    work.scratch = int64_t{splits} * tiles * rows;
  } else {
    const int64_t blocks = CeilDiv(rows, kPrefillRows);
    Units(work, LoraWork::kPrefillShrink) = splits * CeilDiv(tiles, kPrefillTiles) * blocks;
    Units(work, LoraWork::kPrefillReduce) = CeilDiv(int64_t{tiles} * rows * 4, kReduceUnit);
    Units(work, LoraWork::kPrefillExpand) = CeilDiv(out, kPrefillOut) * blocks;
    // The splits' sums, and behind them the finished ones in bf16.
    const int64_t tile_rows = int64_t{tiles} * rows;
    work.scratch = splits * tile_rows + CeilDiv(tile_rows, 2);
  }
  return work;
}

/// Rows that use one adapter, or none.
struct Group {
  const ResidentLora* adapter = nullptr;
  int32_t first = 0;
  int32_t rows = 0;
};

/// Fills `row_numbers`. Base rows come first.
std::vector<Group> GroupRows(std::span<const LoraRows> sequences, std::span<int32_t> row_numbers) {
  std::vector<Group> groups(1);
  for (const LoraRows& sequence : sequences)
    if (std::none_of(groups.begin(), groups.end(),
                     [&](const Group& group) { return group.adapter == sequence.adapter; }))
      groups.push_back({sequence.adapter, 0, 0});
  WEFT_CHECK(groups.size() <= kMaxLoraGroups);
  int32_t next = 0;
  for (Group& group : groups) {
    group.first = next;
    for (const LoraRows& sequence : sequences) {
      if (sequence.adapter != group.adapter) continue;
      for (int32_t row = 0; row < sequence.rows; ++row)
        row_numbers[static_cast<size_t>(next++)] = sequence.first_row + row;
    }
    group.rows = next - group.first;
  }
  return groups;
}

/// Numbers one operator's work. Returns its scratch in kLoraTile floats.
int64_t NumberUnits(const LoraShape& shape, int op, std::span<const Group> groups,
                    LoraOperatorStep& into) {
  const int projections = kOperatorProjections[static_cast<size_t>(op)];
  std::array<int64_t, kLoraWorks> next = {};
  int64_t scratch = 0;
  for (int number = 0; number <= kMaxLoraEntries; ++number) {
    for (size_t kind = 0; kind < kLoraWorks; ++kind)
      into.begin[kind][number] = static_cast<int32_t>(next[kind]);
    if (number >= std::ssize(groups) * projections) continue;
    const Group& group = groups[static_cast<size_t>(number / projections)];
    const int index = number % projections;
    const auto projection = static_cast<size_t>(kFirstProjection[static_cast<size_t>(op)] + index);
    LoraEntry& entry = into.entries[number];
    entry.first = group.first;
    entry.rows = group.rows;
    entry.scratch = static_cast<int32_t>(scratch);
    entry.index = static_cast<uint8_t>(index);
    if (group.adapter != nullptr) {
      entry.table = group.adapter->table;
      entry.table_tiles = group.adapter->table_tiles;
      entry.tiles = group.adapter->tiles[projection];
    }
    const EntryWork work =
        WorkOf(group.rows, entry.tiles, shape.in[projection], shape.out[projection]);
    scratch += work.scratch;
    for (size_t kind = 0; kind < kLoraWorks; ++kind) next[kind] += work.units[kind];
  }
  return scratch;
}

/// Shares a kind of work out among blocks.
void FillStarts(const LoraOperatorStep& from, LoraWork work, int multiprocessors,
                std::span<LoraStart> starts) {
  const std::span<const int32_t> begin(from.begin[static_cast<size_t>(work)]);
  const int64_t count = begin[kMaxLoraEntries];
  const int blocks = LoraBlocks(work, multiprocessors);
  size_t entry = 0;
  for (int block = 0; block < blocks; ++block) {
    const auto first = static_cast<int32_t>(count * block / blocks);
    const auto end = static_cast<int32_t>(count * (block + 1) / blocks);
    if (first == end) continue;  // A count of zero.
    while (begin[entry + 1] <= first) ++entry;
    starts[static_cast<size_t>(block)] = {from.entries[entry], static_cast<int32_t>(entry),
                                          first - begin[entry], begin[entry + 1] - begin[entry],
                                          end - first};
  }
}

/// All but the starts of blocks that a GPU of so many multiprocessors does not have, and those of
/// prefills where there are none.
std::vector<LoraStepPart> PartsRead(const LoraStep& step, bool prefill, int multiprocessors) {
  std::vector<LoraStepPart> parts = {{0, offsetof(LoraStep, decode)}};
  const auto add = [&](const LoraStart* starts, LoraWork work) {
    parts.push_back(
        {reinterpret_cast<const std::byte*>(starts) - reinterpret_cast<const std::byte*>(&step),
         LoraBlocks(work, multiprocessors) * Bytes{sizeof(LoraStart)}});
  };
  for (int op = 0; op < kLoraOperators; ++op)
    for (int work = 0; work < (prefill ? kLoraWorks : kDecodeWorks); ++work)
      add(work < kDecodeWorks ? step.decode[op][work] : step.prefill[op][work - kDecodeWorks],
          static_cast<LoraWork>(work));
  return parts;
}

}  // namespace

LoraShape LoraShapeOf(const ModelConfig& config) {
  LoraShape shape;
  shape.layers = config.layers;
  for (const Projection projection : kAllProjections) {
    shape.in[static_cast<size_t>(projection)] = config.InputSize(projection);
    shape.out[static_cast<size_t>(projection)] = config.OutputSize(projection);
  }
  return shape;
}

ResidentLora DescribeLora(const AdapterTable& adapter, uint64_t table) {
  WEFT_CHECK(table % 16 == 0);
  ResidentLora lora;
  lora.table = table;
  for (size_t i = 0; i < adapter.modules.size(); ++i) {
    const size_t tiles = adapter.modules[i].tiles.size();
    WEFT_CHECK(tiles <= kMaxLoraTiles);
    uint8_t& most = lora.tiles[i % kProjectionCount];
    most = std::max(most, static_cast<uint8_t>(tiles));
    lora.table_tiles = std::max(lora.table_tiles, most);
  }
  return lora;
}

Bytes LoraTableBytes(const AdapterTable& adapter) {
  const auto modules = static_cast<Bytes>(adapter.modules.size());
  const auto tiles = Bytes{DescribeLora(adapter, 0).table_tiles};
  return CeilDiv(modules, 2) * 2 * static_cast<Bytes>(sizeof(LoraTableModule)) +
         modules * tiles * static_cast<Bytes>(sizeof(LoraTableTile));
}

void WriteLoraTable(const AdapterTable& adapter, std::span<std::byte> into) {
  WEFT_CHECK(std::ssize(into) == LoraTableBytes(adapter));
  const size_t stride = DescribeLora(adapter, 0).table_tiles;
  std::fill(into.begin(), into.end(), std::byte{0});
  std::byte* tiles = into.data() + (adapter.modules.size() + 1) / 2 * 2 * sizeof(LoraTableModule);
  for (size_t i = 0; i < adapter.modules.size(); ++i) {
    const LoraModule& module = adapter.modules[i];
    LoraTableModule entry = {module.scaling, static_cast<int16_t>(module.tiles.size()), 0};
    for (size_t t = 0; t < module.tiles.size(); ++t) {
      const LoraTile& tile = module.tiles[t];
      WEFT_CHECK(tile.width == kRankTile || t + 1 == module.tiles.size());
      entry.last_width = static_cast<int16_t>(tile.width);
      const LoraTableTile where = {reinterpret_cast<uint64_t>(tile.a),
                                   reinterpret_cast<uint64_t>(tile.b)};
      WEFT_CHECK(where.a % 16 == 0 && where.b % 16 == 0);
      std::memcpy(tiles + (i * stride + t) * sizeof(where), &where, sizeof(where));
    }
    std::memcpy(into.data() + i * sizeof(entry), &entry, sizeof(entry));
  }
}

int64_t LoraScratchFloats(const LoraShape& shape, int32_t max_rows, int32_t max_rank) {
  const int64_t tiles = CeilDiv(max_rank, kRankTile);
  int64_t most = 0;
  for (size_t op = 0; op < kLoraOperators; ++op) {
    const int32_t in = shape.in[static_cast<size_t>(kFirstProjection[op])];
    // An entry's finished sums are rounded up to a whole kRankTile floats.
    const int64_t entry_rows = tiles * max_rows;
    most = std::max(most, kOperatorProjections[op] * (LoraSplits(in) * entry_rows +
                                                      CeilDiv(entry_rows, 2) + kMaxLoraGroups));
  }
  return most * kRankTile;
}

LoraStepPlan BuildLoraStep(const LoraShape& shape, std::span<const LoraRows> sequences,
                           int32_t multiprocessors, LoraStep& step,
                           std::span<int32_t> row_numbers) {
  std::memset(&step, 0, sizeof(step));
  const std::vector<Group> groups = GroupRows(sequences, row_numbers);
  LoraStepPlan plan;
  plan.any = groups.size() > 1;
  for (int op = 0; op < kLoraOperators; ++op) {
    LoraOperatorStep& into = step.operators[op];
    plan.scratch_floats =
        std::max(plan.scratch_floats, kLoraTile * NumberUnits(shape, op, groups, into));
    const auto has = [&](LoraWork kind) {
      return into.begin[static_cast<size_t>(kind)][kMaxLoraEntries] > 0;
    };
    for (const LoraWork work : {LoraWork::kDecodeShrink, LoraWork::kDecodeExpand})
      FillStarts(into, work, multiprocessors, step.decode[op][static_cast<size_t>(work)]);
    plan.decode = plan.decode || has(LoraWork::kDecodeExpand);
    if (!has(LoraWork::kPrefillExpand)) continue;
    plan.prefill = true;
    for (const LoraWork work :
         {LoraWork::kPrefillShrink, LoraWork::kPrefillReduce, LoraWork::kPrefillExpand})
      FillStarts(into, work, multiprocessors,
                 step.prefill[op][static_cast<size_t>(work) - kDecodeWorks]);
  }
  plan.parts = PartsRead(step, plan.prefill, multiprocessors);
  return plan;
}

}  // namespace weft::ops::cuda
