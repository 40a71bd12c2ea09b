#pragma once

#include <cuda.h>

#include <cstdint>

#include "ops/cuda/gemm_params.h"

// The product of few rows with a weight that is read once, by one block on each multiprocessor: how
// it is shared out among blocks, and among the warps of a block.

namespace weft::ops::cuda {

/// Of shared memory a block's on Hopper; none of the other GPUs that we build for lets it have so
/// much.
constexpr int32_t kHopperShared = 227 * 1024;
constexpr int kMostFewRows = 32;
constexpr int kMostFewRowsStages = 16;  ///< Of the ring.
/// What a warp's matrix unit takes at once: rows, and outputs, which are a unit.
constexpr int kFewRowsTile = 8;
constexpr int kUnitOuts = 16;
constexpr int kFewRowsTeams = 4;  ///< Of warps that take stages in turns.

/// A block's outputs are units * passes neighbouring units, `units` at a time. It goes through
/// their columns, and those of h, in stages of `boxes` boxes of 64.
struct FewRowsPlan {
  int32_t units = 0;
  int32_t passes = 0;
  /// Whether each warp multiplies all of a stage for units of its own. Otherwise teams of warps
  /// take stages in turns, for all units, and their sums are put together at the end of the one
  /// pass.
  bool own_units = false;
  int32_t boxes = 0;
  int32_t stages = 0;    ///< In the ring; each always the same team's, where they take turns.
  int32_t box_rows = 0;  ///< Of h in a stage, whole tiles of 8.
};

struct FewRowsParams {
  CUtensorMap weight;
  CUtensorMap h;
  GemmParams product;
  FewRowsPlan plan;
};

/// Whether it can be computed so, on a GPU with this shared memory for a block: bf16, at most 32
/// rows, whole units of outputs and whole boxes of columns, rows of h apart by multiples of 8
/// elements, of c and d by multiples of 4. All begin at multiples of 16 bytes.
bool FewRowsServes(const GemmParams& product, int32_t shared_limit);

/// Whether teams of warps take stages in turns: where a block has few outputs.
bool TakesUnitsInTurns(const GemmParams& product, int32_t blocks);

/// `ring_bytes`: of shared memory for the stages.
FewRowsPlan PlanFewRows(const GemmParams& product, int32_t blocks, int32_t ring_bytes);

FewRowsParams DescribeFewRows(const GemmParams& product, int32_t blocks, int32_t ring_bytes);

}  // namespace weft::ops::cuda
