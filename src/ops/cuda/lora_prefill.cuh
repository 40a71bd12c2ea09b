#pragma once

#include "ops/cuda/lora_device.cuh"

// The LoRA kernels for many rows of an adapter: 128 x 128 tiles on the tensor cores, fed through
// shared memory. A stage holds 64 columns of 128 left rows (x, or A x) and 128 right rows (A, or
// B), each as two blocks of 32 columns in which a row is 64 bytes. A row's four vectors are swapped
// about so that the eight that LoadMatrices reads at once lie in different banks.

namespace weft::ops::cuda {

/// Of a shrink, whose warps have 32 columns of the tile each, since they keep two sets of sums; and
/// of an expand, with 64.
constexpr int kShrinkThreads = 512;
constexpr int kExpandThreads = 256;
constexpr int kSide = kPrefillRows;
constexpr int kStageColumns = 64;
/// Vectors of each side of a stage.
constexpr int kSideVectors = kSide * kStageColumns / kVector;
/// A block of 32 columns. The padding sends the two blocks of a row to different banks.
constexpr int kBlockBytes = kSide * 64 + 64;
constexpr int kSideBytes = 2 * kBlockBytes;
constexpr int kStageBytes = 2 * kSideBytes;

constexpr int kReduceThreads = 256;

static_assert(kPrefillTiles * kLoraTile == kSide && kPrefillOut % kSide == 0);

cudaError_t PreparePrefillShrink(int32_t shared_limit);
cudaError_t PreparePrefillExpand(int32_t shared_limit);
void LaunchPrefillShrink(const LoraParams& params, cudaStream_t stream);
void LaunchPrefillExpand(const LoraParams& params, cudaStream_t stream);

/// Stages in flight: as many as the device's shared memory holds.
constexpr int kShrinkStages = 4;
constexpr int kExpandStages = 3;
constexpr int kFewStages = 2;

inline bool StagesFit(int32_t shared_limit, int stages) {
  return stages * kStageBytes <= shared_limit;
}

template <typename Kernel>
cudaError_t AllowStages(Kernel kernel, int stages, int32_t shared_limit) {
  if (!StagesFit(shared_limit, stages)) return cudaSuccess;  // Never launched there.
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              stages * kStageBytes);
}

/// Sums of a warp: 32 rows x 32 kGroups columns of the tile.
template <int kGroups>
using TileSums = float[2][4 * kGroups][4];

__device__ inline int WarpRow() { return static_cast<int>(threadIdx.x) / kWarp % 4 * 32; }
template <int kGroups>
__device__ inline int WarpColumn() {
  return static_cast<int>(threadIdx.x) / kWarp / 4 * 32 * kGroups;
}

/// Where vector `t` of a row lies in a block, on either side. LoadMatrices reads eight neighbouring
/// left rows, and right rows as SpreadColumn has them.
__device__ inline int LeftOffset(int row, int t) { return row * 64 + ((t ^ row >> 1) & 3) * 16; }
__device__ inline int RightOffset(int row, int t) { return row * 64 + ((t ^ row >> 3) & 3) * 16; }

/// This lane's addresses for LoadMatrices, from a stage's beginning. The rest is the same for all
/// lanes and known when compiling.
struct LaneAddresses {
  int left[2];   ///< Of the two products of 16 columns.
  int right[4];  ///< Of the four products of 8 columns that SpreadColumn joins.
};
template <int kGroups>
__device__ inline LaneAddresses AddressesOfLane() {
  const int lane = threadIdx.x % kWarp;
  LaneAddresses addresses;
#pragma unroll
  for (int step = 0; step < 2; ++step)
    addresses.left[step] = LeftOffset(WarpRow() + lane % 16, 2 * step + lane / 16);
#pragma unroll
  for (int j = 0; j < 4; ++j)
    addresses.right[j] =
        kSideBytes + RightOffset(WarpColumn<kGroups>() + SpreadColumn(lane % 8, j), lane / 8);
  return addresses;
}

/// acc += left * right^T for one stage. The products are issued so that neighbours do not wait for
/// each other; each sum keeps Multiply32's order.
template <int kGroups>
__device__ inline void MultiplyStage(uint32_t stage, const LaneAddresses& lane,
                                     TileSums<kGroups>& acc) {
#pragma unroll
  for (int block = 0; block < 2; ++block) {
    const uint32_t base = stage + block * kBlockBytes;
    uint4 left[2][2];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int step = 0; step < 2; ++step)
        left[m][step] = LoadMatrices(base + lane.left[step] + m * 16 * 64);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      uint4 right[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) right[j] = LoadMatrices(base + lane.right[j] + group * 32 * 64);
#pragma unroll
      for (int step = 0; step < 2; ++step)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const uint4& a = left[m][step];
            Multiply(acc[m][group * 4 + j], a.x, a.y, a.z, a.w, step == 0 ? right[j].x : right[j].z,
                     step == 0 ? right[j].y : right[j].w);
          }
    }
  }
}

}  // namespace weft::ops::cuda
