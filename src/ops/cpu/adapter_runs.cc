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

const LoraTile& AdapterRuns::TileOf(const ShrinkTask& task, int32_t tile) const {
  return ModuleOf(task).module->tiles[static_cast<size_t>(tile)];
}

const AdapterRuns::RunModule& AdapterRuns::ModuleOf(const ShrinkTask& task) const {
  return run_modules_[static_cast<size_t>(int64_t{task.run} * modules_ + task.module)];
}

void AdapterRuns::Plan(LayerIndex layer, std::span<const Projection> projections) {
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
}

void AdapterRuns::Shrink(LayerIndex layer, std::span<const Projection> projections,
                         const std::byte* h, int64_t h_stride, int32_t in, ThreadTeam& team,
                         ReadAhead& read_ahead) {
  Plan(layer, projections);
  const auto tasks = static_cast<int32_t>(tasks_.size());
  if (tasks == 0) return;
  const auto start = [&](int32_t number) {
    const ShrinkTask& task = tasks_[static_cast<size_t>(std::min(number, tasks - 1))];
    return TileOf(task, task.first_tile).a;
  };
  read_ahead.BeginProduct([&](int thread) { return start(team.RangeBegin(tasks, thread)); });
  team.ParallelForRanges(tasks, [&](int32_t number, int thread) {
    const ShrinkTask& task = tasks_[static_cast<size_t>(number)];
    const bool last = number + 1 == team.RangeBegin(tasks, thread + 1);
    ShrinkArgs args;
    args.x = h + task.first_row * h_stride * SizeOf(dtype_);
    args.x_stride = h_stride;
    args.in = in;
    ShrinkTiles(task, args, last ? read_ahead.Next(thread) : start(number + 1));
  });
}

void AdapterRuns::ShrinkTiles(const ShrinkTask& task, ShrinkArgs args,
                              const std::byte* next) const {
  const RunModule& target = ModuleOf(task);
  int64_t offset = target.offset + TileOffset(*target.module, task.first_tile);
  args.rows = task.rows;
  args.scaling = target.module->scaling;
  args.out_stride = stride_;
  const int32_t end = task.first_tile + task.tiles;
  for (int32_t i = task.first_tile; i < end; ++i) {
    const LoraTile& tile = TileOf(task, i);
    args.tile = tile.a;
    args.width = tile.width;
    args.out = shrunk_ + (task.first_row * stride_ + offset) * SizeOf(dtype_);
    args.next = i + 1 < end ? TileOf(task, i + 1).a : next;
    kernels_.shrink(args);
    offset += tile.width;
  }
}

AdapterRuns::Span AdapterRuns::RunsAmong(int32_t first_row, int32_t rows) const {
  Span span;
  const auto count = runs_.size();
  while (span.first < count && runs_[span.first].first_row + runs_[span.first].rows <= first_row)
    ++span.first;
  span.end = span.first;
  while (span.end < count && runs_[span.end].first_row < first_row + rows) ++span.end;
  return span;
}

void AdapterRuns::PrefetchExpand(int32_t index, Span runs, int32_t first_panel,
                                 int32_t panels) const {
  constexpr Bytes kLine = 64;
  for (size_t run = runs.first; run < runs.end; ++run) {
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
  const Span span = RunsAmong(first_row, rows);
  for (size_t run = span.first; run < span.end; ++run) {
    const int32_t begin = std::max(first_row, runs_[run].first_row);
    const int32_t end = std::min(first_row + rows, runs_[run].first_row + runs_[run].rows);
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
