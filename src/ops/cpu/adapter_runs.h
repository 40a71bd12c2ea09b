#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/strong_id.h"
#include "checkpoint/model_config.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/read_ahead.h"
#include "ops/cpu/thread_team.h"
#include "ops/operators.h"

namespace weft::ops::cpu {

/// Neighbouring rows of a step that use one adapter.
struct AdapterRun {
  int32_t first_row = 0;
  int32_t rows = 0;
  const AdapterTable* adapter = nullptr;
};

/// The rows of a step that use adapters, and what their projections' shrinking halves gave. Rows
/// without an adapter do not appear and cost nothing. Owned by the operators, used by their thread.
class AdapterRuns {
 public:
  /// `max_rank`: of one module; a row keeps three modules' worth (q, k and v).
  AdapterRuns(const Kernels& kernels, DType dtype, int32_t max_rank);

  /// Bytes of the buffer for `max_rows` rows that SetBuffer takes.
  Bytes BufferBytes(int32_t max_rows) const { return Bytes{max_rows} * stride_ * SizeOf(dtype_); }
  void SetBuffer(std::byte* buffer) { shrunk_ = buffer; }

  void BeginStep(const StepRows& step);

  /// Computes scaling * A h, in elements, for the projections of one operator (three at most).
  /// `h` [rows, in], `h_stride` in elements.
  void Shrink(LayerIndex layer, std::span<const Projection> projections, const std::byte* h,
              int64_t h_stride, int32_t in, ThreadTeam& team, ReadAhead& read_ahead);

  /// Runs among rows [first_row, first_row + rows): [first, end).
  struct Span {
    size_t first = 0;
    size_t end = 0;
    size_t size() const { return end - first; }
  };
  Span RunsAmong(int32_t first_row, int32_t rows) const;

  /// Begins to bring in what Expand will read for these runs, while the base product runs.
  void PrefetchExpand(int32_t index, Span runs, int32_t first_panel, int32_t panels) const;

  /// c [rows, 16 * panels] += B (what Shrink left), for rows [first_row, first_row + rows) and
  /// panels [first_panel, first_panel + panels) of projection number `index` of the last Shrink.
  void Expand(int32_t index, int32_t first_row, int32_t rows, int32_t first_panel, int32_t panels,
              float* c, int64_t c_stride) const;

 private:
  /// One run's module of the operator at hand; its results start at `offset` of each row.
  struct RunModule {
    const LoraModule* module = nullptr;
    int64_t offset = 0;
  };
  /// Some tiles of a run's module for some of its rows.
  struct ShrinkTask {
    int32_t run = 0;
    int32_t module = 0;
    int32_t first_tile = 0;
    int32_t tiles = 0;
    int32_t first_row = 0;
    int32_t rows = 0;
  };

  void Plan(LayerIndex layer, std::span<const Projection> projections);
  void PlanModule(int32_t run, int32_t index, const LoraModule& module);
  const RunModule& ModuleOf(const ShrinkTask& task) const;
  const LoraTile& TileOf(const ShrinkTask& task, int32_t tile) const;
  /// `args` without what the task says. `next`: what the thread reads afterwards.
  void ShrinkTiles(const ShrinkTask& task, ShrinkArgs args, const std::byte* next) const;
  int64_t TileOffset(const LoraModule& module, int32_t tile) const;

  const Kernels& kernels_;
  const DType dtype_;
  const int64_t stride_;  ///< Elements a row keeps.
  std::byte* shrunk_ = nullptr;
  std::vector<AdapterRun> runs_;
  int32_t modules_ = 0;                 ///< Of the operator at hand.
  std::vector<RunModule> run_modules_;  ///< [run][module]
  std::vector<ShrinkTask> tasks_;
};

}  // namespace weft::ops::cpu
