#pragma once

#include "ops/cuda/lora_device.cuh"

// The LoRA kernels for many rows of an adapter: 128 x 128 tiles on the tensor cores, fed through
// shared memory. A stage holds 64 columns of 128 left rows (x, or A x) and 128 right rows (A, or
// B), each as two blocks of 32 columns in which a row is 64 bytes, as Multiply32 reads them.

namespace weft::ops::cuda {

constexpr int kPrefillThreads = 256;
constexpr int kSide = kPrefillRows;
constexpr int kStageColumns = 64;
/// Vectors that a thread copies of each side of a stage.
constexpr int kCopies = kSide * kStageColumns / kVector / kPrefillThreads;
/// A block of 32 columns. The padding sends the two blocks of a row to different banks.
constexpr int kBlockBytes = kSide * 64 + 64;
constexpr int kSideBytes = 2 * kBlockBytes;
constexpr int kStageBytes = 2 * kSideBytes;

constexpr int kReduceThreads = 256;
constexpr int kReduceBlocks = 8;

static_assert(kPrefillTiles * kLoraTile == kSide && kPrefillOut % kSide == 0);

cudaError_t PreparePrefillShrink(int32_t shared_limit);
cudaError_t PreparePrefillExpand(int32_t shared_limit);
void LaunchPrefillShrink(const LoraParams& params, cudaStream_t stream);
void LaunchPrefillExpand(const LoraParams& params, cudaStream_t stream);

/// Stages in flight: as many as the device's shared memory holds beside LoraUnits.
constexpr int kShrinkStages = 4;
constexpr int kExpandStages = 3;
constexpr int kFewStages = 2;

/// Whether a block of at most `shared_limit` bytes holds so many stages beside what is static.
inline bool StagesFit(int32_t shared_limit, int stages) {
  return stages * kStageBytes + static_cast<int>(sizeof(LoraUnits)) <= shared_limit;
}

template <typename Kernel>
cudaError_t AllowStages(Kernel kernel, int stages, int32_t shared_limit) {
  if (!StagesFit(shared_limit, stages)) return cudaSuccess;  // Never launched there.
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              stages * kStageBytes);
}

/// Sums of a warp: 32 rows x 64 columns of the tile.
using TileSums = float[2][8][4];

__device__ inline int WarpRow() { return static_cast<int>(threadIdx.x) / kWarp % 4 * 32; }
__device__ inline int WarpColumn() { return static_cast<int>(threadIdx.x) / kWarp / 4 * 64; }

/// acc += left * right^T for 32 columns of the warp's 64 in one block of a stage. The products are
/// issued so that neighbours do not wait for each other; each sum keeps Multiply32's order.
__device__ inline void MultiplyGroup(const uint4 (&low)[2], const uint4 (&high)[2],
                                     const std::byte* right, int group, TileSums& acc) {
  const int lane = threadIdx.x % kWarp;
  uint4 b[4];
#pragma unroll
  for (int j = 0; j < 4; ++j)
    b[j] = *reinterpret_cast<const uint4*>(right + (group * 32 + SpreadColumn(lane / 4, j)) * 64);
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int m = 0; m < 2; ++m)
      Multiply(acc[m][group * 4 + j], low[m].x, high[m].x, low[m].y, high[m].y, b[j].x, b[j].y);
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int m = 0; m < 2; ++m)
      Multiply(acc[m][group * 4 + j], low[m].z, high[m].z, low[m].w, high[m].w, b[j].z, b[j].w);
}

/// acc += left * right^T for one stage and the first kGroups x 32 columns of the warp's 64.
template <int kGroups>
__device__ inline void MultiplyStage(const std::byte* stage, TileSums& acc) {
  const int lane = threadIdx.x % kWarp;
  const std::byte* left = stage + (WarpRow() + lane / 4) * 64 + lane % 4 * 16;
  const std::byte* right = stage + kSideBytes + WarpColumn() * 64 + lane % 4 * 16;
#pragma unroll
  for (int block = 0; block < 2; ++block) {
    uint4 low[2];
    uint4 high[2];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      low[m] = *reinterpret_cast<const uint4*>(left + block * kBlockBytes + m * 16 * 64);
      high[m] = *reinterpret_cast<const uint4*>(left + block * kBlockBytes + (m * 16 + 8) * 64);
    }
#pragma unroll
    for (int group = 0; group < kGroups; ++group)
      MultiplyGroup(low, high, right + block * kBlockBytes, group, acc);
  }
}

}  // namespace weft::ops::cuda
