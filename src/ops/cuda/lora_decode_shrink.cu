#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

static_assert(kLoraSplit == kDecodeWarps * kLoraChain, "A warp sums a chain.");

constexpr int kBlocks32 = kLoraChain / 32;
constexpr int kHalves = kLoraTile / 8;

/// One rank tile of A over one split of the columns.
struct ShrinkUnit {
  LoraUnit found;
  const __nv_bfloat16* a;
  int width;  ///< 0: this layer's module has no such tile.
  int tile;
  int tiles;
  int split;
};

__device__ ShrinkUnit FindShrinkUnit(const LoraParams& params, const LoraUnits& units, int number) {
  ShrinkUnit unit;
  unit.found = FindUnit(params, units, number);
  unit.tiles = unit.found.group->tiles[unit.found.projection];
  unit.tile = unit.found.unit % unit.tiles;
  unit.split = unit.found.unit / unit.tiles;
  unit.width = WidthOf(unit.found.module, unit.tile);
  unit.a = reinterpret_cast<const __nv_bfloat16*>(__ldg(&unit.found.tiles[unit.tile].a));
  return unit;
}

using Weights = uint4[kHalves][kBlocks32];

/// This warp's chain of the tile, as Multiply32 takes it.
__device__ void LoadChain(const ShrinkUnit& unit, int in, Weights& w) {
  const int lane = threadIdx.x % kWarp;
  const int k = unit.split * kLoraSplit + threadIdx.x / kWarp * kLoraChain + lane % 4 * kVector;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int rank = half * 8 + lane / 4;
    const __nv_bfloat16* row = unit.a + int64_t{rank} * in + k;
#pragma unroll
    for (int i = 0; i < kBlocks32; ++i) {
      w[half][i] = make_uint4(0, 0, 0, 0);
      if (rank < unit.width && k + i * 32 < in) w[half][i] = LoadWeights(row + i * 32);
    }
  }
}

/// This warp's chain for rows [first, first + 16) of the group, of which `rows` exist.
template <bool kHigh>
__device__ void MultiplyChain(const LoraParams& params, const ShrinkUnit& unit, int first, int rows,
                              const Weights& w, float (&acc)[kHalves][4]) {
  const int lane = threadIdx.x % kWarp;
  const int k = unit.split * kLoraSplit + threadIdx.x / kWarp * kLoraChain + lane % 4 * kVector;
  const int32_t* numbers = RowNumbers(params) + unit.found.group->first + first;
  const bool low_row = lane / 4 < rows;
  const bool high_row = kHigh && lane / 4 + 8 < rows;
  const __nv_bfloat16* low_x =
      params.x + (low_row ? __ldg(&numbers[lane / 4]) : 0) * params.x_stride + k;
  const __nv_bfloat16* high_x =
      params.x + (high_row ? __ldg(&numbers[lane / 4 + 8]) : 0) * params.x_stride + k;
#pragma unroll
  for (int i = 0; i < kBlocks32; ++i) {
    const bool column = k + i * 32 < params.in;
    uint4 low = make_uint4(0, 0, 0, 0);
    uint4 high = make_uint4(0, 0, 0, 0);
    if (low_row && column) low = LoadFresh(low_x + i * 32);
    if (kHigh && high_row && column) high = LoadFresh(high_x + i * 32);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) Multiply32(acc[half], low, high, w[half][i]);
  }
}

using ChainSums = float[kDecodeWarps][kRowTile][kLoraTile];

/// Adds the warps' chains and writes the split's sums.
__device__ void StoreSplit(const LoraParams& params, const ShrinkUnit& unit, int first, int rows,
                           const float (&acc)[kHalves][4], ChainSums& sums) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int half = 0; half < kHalves; ++half)
#pragma unroll
    for (int high = 0; high < 2; ++high)
      *reinterpret_cast<float2*>(&sums[warp][lane / 4 + 8 * high][half * 8 + lane % 4 * 2]) =
          make_float2(acc[half][2 * high], acc[half][2 * high + 1]);
  __syncthreads();
  const int row = threadIdx.x / 8;
  const int rank = threadIdx.x % 8 * 2;
  if (row < rows) {
    float2 sum = *reinterpret_cast<const float2*>(&sums[0][row][rank]);
    const int columns = params.in - unit.split * kLoraSplit;
    for (int chain = 1; chain < kDecodeWarps && chain * kLoraChain < columns; ++chain) {
      const float2 next = *reinterpret_cast<const float2*>(&sums[chain][row][rank]);
      sum.x += next.x;
      sum.y += next.y;
    }
    const int64_t at =
        (int64_t{unit.split * unit.tiles + unit.tile} * unit.found.group->rows + first + row);
    *reinterpret_cast<float2*>(params.scratch + unit.found.scratch + at * kLoraTile + rank) = sum;
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kDecodeThreads, kDecodeBlocks)
    LoraDecodeShrink(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) ChainSums sums;
  ReadUnits(params, LoraWork::kDecodeShrink, units);
  const int count = units.begin[kMaxLoraEntries];
  int number = blockIdx.x;
  ShrinkUnit unit;
  if (number < count) unit = FindShrinkUnit(params, units, number);
  bool waited = false;
  while (number < count) {
    Weights w;
    LoadChain(unit, params.in, w);
    if (!waited) {
      WaitForKernelBefore();
      LetNextKernelStart();
      waited = true;
    }
    number += gridDim.x;
    ShrinkUnit next = unit;
    if (number < count) next = FindShrinkUnit(params, units, number);
    const int rows = unit.width > 0 ? unit.found.group->rows : 0;
    for (int first = 0; first < rows; first += kRowTile) {
      float acc[kHalves][4] = {};
      if (rows - first > 8)
        MultiplyChain<true>(params, unit, first, rows - first, w, acc);
      else
        MultiplyChain<false>(params, unit, first, rows - first, w, acc);
      StoreSplit(params, unit, first, rows - first, acc, sums);
    }
    unit = next;
  }
  if (!waited) {
    WaitForKernelBefore();
    LetNextKernelStart();
  }
}

}  // namespace

void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeShrink, params, kDecodeBlocks, kDecodeThreads, 0, stream);
}

}  // namespace weft::ops::cuda
