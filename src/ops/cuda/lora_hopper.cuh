#pragma once

#include "ops/cuda/lora_ring.cuh"
#include "ops/cuda/lora_wgmma.cuh"

// The LoRA kernels for many rows of an adapter on Hopper: tiles of 128 x 128 as in
// lora_prefill.cuh, by two warpgroups of 64 rows each; a third one copies what they multiply into
// rings in shared memory, without pause from one tile to the next.

namespace weft::ops::cuda {

constexpr int kHopperThreads = 3 * kWarpgroup;
constexpr int kMultipliers = 2;
constexpr int kMultiplierWarps = kMultipliers * kWarpgroup / kWarp;
/// 128 rows of a factor, and of two side by side.
constexpr int kFactorBytes = 128 * kFactorRow;
constexpr int kSlabBytes = 2 * kFactorBytes;

/// Slots of 128 rows by 128 columns: three pairs of a shrink; two and four of an expand.
constexpr int kSlabs = 6;
constexpr int kHopperBytes = kSlabs * kSlabBytes + 1024;  ///< To begin at a multiple of 1,024.

/// Hopper's multiprocessors alone have so much.
inline bool IsHopper(int32_t shared_limit) { return kHopperBytes <= shared_limit; }

cudaError_t PrepareHopperShrink();
cudaError_t PrepareHopperExpand();
void LaunchHopperShrink(const LoraParams& params, cudaStream_t stream);
void LaunchHopperExpand(const LoraParams& params, cudaStream_t stream);

/// Where the slabs begin.
__device__ inline uint32_t FirstSlab(const std::byte* shared) {
  return (SharedAddress(shared) + 1023) / 1024 * 1024;
}

/// Copies 16 bytes where `valid`, else writes zeros; nothing where not `wanted`.
__device__ inline void CopyWanted(uint32_t shared, const void* global, bool valid, bool wanted) {
  if (wanted) CopyAsync(shared, global, valid);
}

}  // namespace weft::ops::cuda
