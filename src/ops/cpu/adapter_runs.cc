#include "ops/cpu/adapter_runs.h"

#include <algorithm>

#include "base/check.h"

namespace weft::ops::cpu {
namespace {

/// A task shrinks so many rows by so many tiles at most: enough to be worth handing out, few enough
/// to share a single sequence among threads.
constexpr int32_t kTaskRows = 64;
constexpr int32_t kTaskTiles = 4;

constexpr int64_t kModulesOfAnOperator = 3;  // q, k and v.

}  // namespace

AdapterRuns::AdapterRuns(const Kernels& kernels, DType dtype, int32_t max_rank)
    : kernels_(kernels),
      dtype_(dtype),
      stride_(kModulesOfAnOperator *
              ((int64_t{max_rank} + kRankTile - 1) / kRankTile * kRankTile)) {}

void AdapterRuns::BeginStep(const StepRows& step) {
  runs_.clear();
  for (const SequenceRows& sequence : step.sequences) {
    if (sequence.adapter == nullptr || sequence.rows == 0) continue;
    if (!runs_.empty() && runs_.back().adapter == sequence.adapter &&
        runs_.back().first_row + runs_.back().rows == sequence.first_row) {
      runs_.back().rows += sequence.rows;
    } else {
      runs_.push_back({sequence.first_row, sequence.rows, sequence.adapter});
    }
  }
}

int64_t AdapterRuns::TileOffset(const LoraModule& module, int32_t tile) const {
  int64_t offset = 0;
  for (int32_t i = 0; i < tile; ++i) offset += module.tiles[static_cast<size_t>(i)].width;
  return offset;
}

void AdapterRuns::PlanModule(int32_t run, int32_t index, const LoraModule& module) {
  const AdapterRun& rows = runs_[static_cast<size_t>(run)];
  const auto tiles = static_cast<int32_t>(module.tiles.size());
  for (int32_t row = 0; row < rows.rows; row += kTaskRows)
    for (int32_t tile = 0; tile < tiles; tile += kTaskTiles)
      tasks_.push_back({run, index, tile, std::min(kTaskTiles, tiles - tile), rows.first_row + row,
                        std::min(kTaskRows, rows.rows - row)});
}

void AdapterRuns::Shrink(LayerIndex layer, std::span<const Projection> projections,
                         const std::byte* h, int64_t h_stride, int32_t in, ThreadTeam& team) {
  modules_ = static_cast<int32_t>(projections.size());
  run_modules_.clear();
  tasks_.clear();
  for (int32_t run = 0; run < std::ssize(runs_); ++run) {
    int64_t offset = 0;
    for (int32_t i = 0; i < modules_; ++i) {
      const LoraModule& module = runs_[static_cast<size_t>(run)].adapter->Module(
          layer, projections[static_cast<size_t>(i)]);
      run_modules_.push_back({&module, offset});
      offset += TileOffset(module, static_cast<int32_t>(module.tiles.size()));
      PlanModule(run, i, module);
    }
    WEFT_CHECK(offset <= stride_);
  }
  team.ParallelFor(static_cast<int32_t>(tasks_.size()), [&](int32_t number, int) {
    const ShrinkTask& task = tasks_[static_cast<size_t>(number)];
    const RunModule& target =
        run_modules_[static_cast<size_t>(int64_t{task.run} * modules_ + task.module)];
    int64_t offset = target.offset + TileOffset(*target.module, task.first_tile);
    ShrinkArgs args;
    args.x = h + task.first_row * h_stride * SizeOf(dtype_);
    args.x_stride = h_stride;
    args.rows = task.rows;
    args.in = in;
    args.scaling = target.module->scaling;
    args.out_stride = stride_;
    for (int32_t i = task.first_tile; i < task.first_tile + task.tiles; ++i) {
      const LoraTile& tile = target.module->tiles[static_cast<size_t>(i)];
      args.tile = tile.a;
      args.width = tile.width;
      args.out = shrunk_ + (task.first_row * stride_ + offset) * SizeOf(dtype_);
      kernels_.shrink(args);
      offset += tile.width;
    }
  });
}

void AdapterRuns::PrefetchExpand(int32_t index, int32_t first_row, int32_t rows,
                                 int32_t first_panel, int32_t panels) const {
  constexpr Bytes kLine = 64;
  for (size_t run = 0; run < runs_.size(); ++run) {
    const int32_t begin = std::max(first_row, runs_[run].first_row);
    const int32_t end = std::min(first_row + rows, runs_[run].first_row + runs_[run].rows);
    if (begin >= end) continue;
    const RunModule& source =
        run_modules_[run * static_cast<size_t>(modules_) + static_cast<size_t>(index)];
    for (const LoraTile& tile : source.module->tiles) {
      const Bytes panel = Bytes{kPanelColumns} * tile.width * SizeOf(dtype_);
      for (Bytes at = 0; at < panels * panel; at += kLine)
        __builtin_prefetch(tile.b + first_panel * panel + at, 0, 2);
    }
  }
}

void AdapterRuns::Expand(int32_t index, int32_t first_row, int32_t rows, int32_t first_panel,
                         int32_t panels, float* c, int64_t c_stride) const {
  for (size_t run = 0; run < runs_.size(); ++run) {
    const int32_t begin = std::max(first_row, runs_[run].first_row);
    const int32_t end = std::min(first_row + rows, runs_[run].first_row + runs_[run].rows);
    if (begin >= end) continue;
    const RunModule& source =
        run_modules_[run * static_cast<size_t>(modules_) + static_cast<size_t>(index)];
    int64_t offset = source.offset;
    GemmArgs args;
    args.a_stride = stride_;
    args.c = c + (begin - first_row) * c_stride;
    args.c_stride = c_stride;
    args.rows = end - begin;
    args.panels = panels;
    args.accumulate = true;
    for (const LoraTile& tile : source.module->tiles) {
      args.a = shrunk_ + (begin * stride_ + offset) * SizeOf(dtype_);
      args.b_stride = int64_t{kPanelColumns} * tile.width;
      args.b = tile.b + first_panel * args.b_stride * SizeOf(dtype_);
      args.k = tile.width;
      kernels_.gemm(args);
      offset += tile.width;
    }
  }
}

}  // namespace weft::ops::cpu
