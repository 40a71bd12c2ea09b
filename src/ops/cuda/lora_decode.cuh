#pragma once

#include "ops/cuda/lora_device.cuh"

// The LoRA kernels for few rows of an adapter. They wait for memory, so that is what they are built
// around: a block takes a contiguous share of the units, and a ring of stages keeps the weights of
// the next ones on their way. A warp copies into shared memory just what it multiplies itself, so
// the ring needs no barrier. The first stages are on their way before the kernel before has
// finished; two blocks of this kernel leave room for those of the next.

namespace weft::ops::cuda {

constexpr int kDecodeThreads = 128;
constexpr int kDecodeWarps = kDecodeThreads / kWarp;
/// Rows of one tensor core product.
constexpr int kRowTile = 16;

/// A stage is kRingCells cells a warp; a cell has 8 rows of 32 columns of weights, a vector of each
/// lane.
constexpr int kRingStages = 3;
constexpr int kRingCells = 8;
constexpr int kCellBytes = kWarp * 16;
constexpr int kWarpStageBytes = kRingCells * kCellBytes;
constexpr int kStageOfRing = kDecodeWarps * kWarpStageBytes;
constexpr int kRingBytes = kRingStages * kStageOfRing;

/// Where vector `t` of row `row` lies in a cell, so that LoadMatrices finds eight banks.
__device__ inline int CellOffset(int row, int t) { return row * 64 + ((t ^ row >> 1) & 3) * 16; }

/// This warp's part of the ring.
struct WarpRing {
  uint32_t copy_to;    ///< Where this lane copies row lane / 4, vector lane % 4 of the first cell.
  uint32_t read_from;  ///< This lane's address for LoadMatrices of the first cell.
};

__device__ inline WarpRing RingOfWarp(const std::byte* ring) {
  const int lane = threadIdx.x % kWarp;
  const uint32_t warp =
      SharedAddress(ring) + static_cast<int>(threadIdx.x) / kWarp * kWarpStageBytes;
  return {warp + CellOffset(lane / 4, lane % 4), warp + CellOffset(lane % 8, lane / 8)};
}

/// The oldest copy of each lane has arrived, for the whole warp.
__device__ inline void WaitForStage() {
  WaitCopies<kRingStages - 1>();
  __syncwarp();
}
/// Before a stage is filled again.
__device__ inline void StageWasRead() { __syncwarp(); }
__device__ inline int NextStage(int stage) { return stage + 1 == kRingStages ? 0 : stage + 1; }

/// The row `row` of a group, in x and delta; 0 if there is none.
__device__ inline int RowNumber(const LoraParams& params, const LoraEntry& group, int row) {
  return row < group.rows ? __ldg(&RowNumbers(params)[group.first + row]) : 0;
}

cudaError_t PrepareDecodeShrink();
cudaError_t PrepareDecodeExpand();
void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream);
void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
