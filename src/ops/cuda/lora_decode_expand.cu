#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

/// Loads in flight of a thread; shared out between columns and rank as the rank asks.
constexpr int kLoads = 16;
/// Ranks of a row of finished sums, padded against bank conflicts.
constexpr int kSumStride = kMaxLoraTiles * kLoraTile + kVector;
using FinishedSums = __nv_bfloat16[kRowTile][kSumStride];

/// One range of outputs of one projection, for all rows of the group.
struct ExpandUnit {
  LoraUnit found;
  int tiles;  ///< That the units were made for; this layer's module may have fewer.
  int out;    ///< Of the projection.
};

__device__ ExpandUnit FindExpandUnit(const LoraParams& params, const LoraUnits& units, int number) {
  ExpandUnit unit;
  unit.found = FindUnit(params, units, number);
  unit.tiles = unit.found.group->tiles[unit.found.projection];
  unit.out = params.delta[unit.found.index].out;
  return unit;
}

/// Adds the splits of rows [first, first + 16), scales, rounds: A x as the product with B takes it.
__device__ void FinishSums(const LoraParams& params, const ExpandUnit& unit, int first, int rows,
                           FinishedSums& sums) {
  const int group_rows = unit.found.group->rows;
  const int64_t split_stride = int64_t{unit.tiles} * group_rows * kLoraTile;
  const int splits = LoraSplits(params.in);
  const int padded_tiles = (unit.tiles + 1) / 2 * 2;
  for (int i = threadIdx.x; i < padded_tiles * kRowTile * 4; i += kDecodeThreads) {
    const int quad = i % 4;
    const int row = i / 4 % kRowTile;
    const int tile = i / 4 / kRowTile;
    uint2 packed = make_uint2(0, 0);
    if (row < rows && tile < unit.found.module.tiles) {
      const float* at = params.scratch + unit.found.scratch +
                        (int64_t{tile} * group_rows + first + row) * kLoraTile + quad * 4;
      float4 sum = LoadFreshFloats(at);
#pragma unroll 4
      for (int split = 1; split < splits; ++split) {
        const float4 next = LoadFreshFloats(at + split * split_stride);
        sum.x += next.x;
        sum.y += next.y;
        sum.z += next.z;
        sum.w += next.w;
      }
      const float scaling = unit.found.module.scaling;
      packed = make_uint2(PackBf16(sum.x * scaling, sum.y * scaling),
                          PackBf16(sum.z * scaling, sum.w * scaling));
    }
    *reinterpret_cast<uint2*>(&sums[row][tile * kLoraTile + quad * 4]) = packed;
  }
}

/// Weights of kColumns x 8 outputs and kBlocks x 32 ranks, from rank tile `first_tile`.
template <int kColumns, int kBlocks>
__device__ void LoadTiles(const ExpandUnit& unit, int first_out, int first_tile,
                          uint4 (&w)[kColumns][kBlocks]) {
  const int lane = threadIdx.x % kWarp;
  const int half = lane % 2;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int tile = first_tile + 2 * block + lane % 4 / 2;
    const int width = WidthOf(unit.found.module, tile);
    const bool exists = half * kVector < width;
    const auto* b = reinterpret_cast<const __nv_bfloat16*>(exists ? __ldg(&unit.found.tiles[tile].b)
                                                                  : uint64_t{0});
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const int out = first_out + column / 4 * 32 + SpreadColumn(lane / 4, column % 4);
      w[column][block] = make_uint4(0, 0, 0, 0);
      if (exists && out < unit.out)
        w[column][block] = LoadWeights(b + int64_t{out} * width + half * kVector);
    }
  }
}

/// Columns whose outputs a thread stores as one vector.
constexpr int kStored = 4;

/// acc += the product for the four columns of `w` from `first_column`.
template <int kColumns, int kBlocks>
__device__ void MultiplyTiles(const FinishedSums& sums, int first_tile, int first_column,
                              const uint4 (&w)[kColumns][kBlocks], float (&acc)[kStored][4]) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int rank = first_tile * kLoraTile + block * 32 + lane % 4 * kVector;
    const uint4 low = *reinterpret_cast<const uint4*>(&sums[lane / 4][rank]);
    const uint4 high = *reinterpret_cast<const uint4*>(&sums[lane / 4 + 8][rank]);
#pragma unroll
    for (int column = 0; column < kStored; ++column)
      Multiply32(acc[column], low, high, w[first_column + column][block]);
  }
}

__device__ void StoreDelta(const LoraParams& params, const ExpandUnit& unit, int first_out,
                           int first, int rows, const float (&acc)[kStored][4]) {
  const int lane = threadIdx.x % kWarp;
  const LoraDelta& delta = params.delta[unit.found.index];
  const int32_t* numbers = RowNumbers(params) + unit.found.group->first + first;
  const int out = first_out + lane % 4 * kVector;
  if (out >= unit.out) return;
#pragma unroll
  for (int high = 0; high < 2; ++high) {
    const int row = lane / 4 + 8 * high;
    if (row >= rows) continue;
    uint4 packed;
    packed.x = PackBf16(acc[0][2 * high], acc[0][2 * high + 1]);
    packed.y = PackBf16(acc[1][2 * high], acc[1][2 * high + 1]);
    packed.z = PackBf16(acc[2][2 * high], acc[2][2 * high + 1]);
    packed.w = PackBf16(acc[3][2 * high], acc[3][2 * high + 1]);
    *reinterpret_cast<uint4*>(delta.y + __ldg(&numbers[row]) * delta.stride + out) = packed;
  }
}

/// What a block does once, at its first unit, when that unit's weights are on their way.
__device__ void WaitOnce(bool& waited) {
  if (waited) return;
  WaitForKernelBefore();
  LetNextKernelStart();
  waited = true;
}

template <int kColumns>
__device__ void Expand(const LoraParams& params, const ExpandUnit& unit, FinishedSums& sums,
                       bool& waited) {
  constexpr int kBlocks = kLoads / kColumns;
  constexpr int kPassTiles = 2 * kBlocks;  // Only the units of the narrowest kind need several.
  const int first_out = unit.found.unit * kColumns * 8 * kDecodeWarps +
                        static_cast<int>(threadIdx.x) / kWarp * kColumns * 8;
  uint4 w[kColumns][kBlocks];
  LoadTiles(unit, first_out, 0, w);
  WaitOnce(waited);
  const bool one_pass = unit.tiles <= kPassTiles;
  const int rows = unit.found.group->rows;
  for (int first = 0; first < rows; first += kRowTile) {
    FinishSums(params, unit, first, rows - first, sums);
    __syncthreads();
#pragma unroll
    for (int column = 0; column < kColumns; column += kStored) {
      float acc[kStored][4] = {};
      for (int tile = 0; tile < unit.tiles; tile += kPassTiles) {
        if (tile > 0 || (first > 0 && !one_pass)) LoadTiles(unit, first_out, tile, w);
        MultiplyTiles(sums, tile, column, w, acc);
      }
      StoreDelta(params, unit, first_out + column * 8, first, rows - first, acc);
    }
    __syncthreads();
  }
}

/// Rows of the base model, and modules that an adapter leaves alone.
__device__ void StoreZeros(const LoraParams& params, const ExpandUnit& unit) {
  const LoraDelta& delta = params.delta[unit.found.index];
  const int ranges = (unit.out + kZeroOut - 1) / kZeroOut;
  const int first_out = unit.found.unit % ranges * kZeroOut;
  const int first = unit.found.unit / ranges * kZeroRows;
  const int rows = min(kZeroRows, unit.found.group->rows - first);
  const int vectors = min(kZeroOut, unit.out - first_out) / kVector;
  const int32_t* numbers = RowNumbers(params) + unit.found.group->first + first;
  for (int row = threadIdx.x / kWarp; row < rows; row += kDecodeWarps) {
    __nv_bfloat16* y = delta.y + __ldg(&numbers[row]) * delta.stride + first_out;
    for (int i = threadIdx.x % kWarp; i < vectors; i += kWarp)
      reinterpret_cast<uint4*>(y)[i] = make_uint4(0, 0, 0, 0);
  }
}

__global__ void __launch_bounds__(kDecodeThreads, kDecodeBlocks)
    LoraDecodeExpand(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) FinishedSums sums;
  ReadUnits(params, LoraWork::kDecodeExpand, units);
  const int count = units.begin[kMaxLoraEntries];
  bool waited = false;
  for (int number = blockIdx.x; number < count; number += gridDim.x) {
    const ExpandUnit unit = FindExpandUnit(params, units, number);
    if (unit.tiles == 0) {
      WaitOnce(waited);
      StoreZeros(params, unit);
    } else if (DecodeOut(unit.tiles) == 512) {
      Expand<16>(params, unit, sums, waited);
    } else if (DecodeOut(unit.tiles) == 256) {
      Expand<8>(params, unit, sums, waited);
    } else {
      Expand<4>(params, unit, sums, waited);
    }
  }
  WaitOnce(waited);
}

}  // namespace

void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeExpand, params, kDecodeBlocks, kDecodeThreads, 0, stream);
}

}  // namespace weft::ops::cuda
