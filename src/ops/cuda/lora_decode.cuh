#pragma once

#include "ops/cuda/lora_device.cuh"

// The LoRA kernels for few rows of an adapter. They wait for memory, so that is what they are built
// around: a block takes a contiguous share of the units, and a ring of stages keeps the weights of
// the next ones on their way. A thread copies into shared memory just what it multiplies itself, so
// the ring needs no barrier. The first stages are on their way before the kernel before has
// finished; two blocks of this kernel leave room for those of the next.

namespace weft::ops::cuda {

constexpr int kDecodeThreads = 128;
constexpr int kDecodeWarps = kDecodeThreads / kWarp;
constexpr int kDecodeBlocks = 2;
/// Rows of one tensor core product.
constexpr int kRowTile = 16;

constexpr int kRingStages = 3;
/// Vectors of a stage that a thread copies.
constexpr int kRingVectors = 8;
constexpr int kRingBytes = kRingStages * kRingVectors * kDecodeThreads * 16;

/// Where a thread's vector of a stage lies. Neighbouring threads' vectors are neighbours.
__device__ inline uint4* RingVector(std::byte* ring, int stage, int vector) {
  return reinterpret_cast<uint4*>(ring) + (stage * kRingVectors + vector) * kDecodeThreads +
         threadIdx.x;
}

/// A block's place in its share [number, end) of an operator's units.
struct DecodeCursor {
  int number;
  int end;
  LoraUnit found;  ///< Of `number`, while number < end.
  int tiles;       ///< Rank tiles that the entry's units were made for.
};

__device__ inline void FindCursorUnit(const LoraParams& params, const LoraUnits& units,
                                      DecodeCursor& cursor) {
  if (cursor.number >= cursor.end) return;
  cursor.found = FindUnit(params, units, cursor.number);
  cursor.tiles = cursor.found.group->tiles[cursor.found.projection];
}

__device__ inline DecodeCursor ShareOfBlock(const LoraParams& params, const LoraUnits& units) {
  const int64_t count = units.begin[kMaxLoraEntries];
  DecodeCursor cursor;
  cursor.number = static_cast<int>(count * blockIdx.x / gridDim.x);
  cursor.end = static_cast<int>(count * (blockIdx.x + 1) / gridDim.x);
  cursor.tiles = 0;
  FindCursorUnit(params, units, cursor);
  return cursor;
}

/// To the next unit. Returns whether that is another entry's.
__device__ inline bool Advance(const LoraParams& params, const LoraUnits& units,
                               DecodeCursor& cursor) {
  ++cursor.number;
  ++cursor.found.unit;
  if (cursor.found.unit < cursor.found.units) return false;
  FindCursorUnit(params, units, cursor);
  return true;
}

cudaError_t PrepareDecodeShrink();
cudaError_t PrepareDecodeExpand();
void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream);
void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
