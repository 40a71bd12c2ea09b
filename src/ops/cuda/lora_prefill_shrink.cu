#include "ops/cuda/lora_hopper.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_prefill.cuh"

namespace weft::ops::cuda {
namespace {

constexpr int kCopies = kSideVectors / kShrinkThreads;
/// Rows between those that a thread copies.
constexpr int kCopyRows = kShrinkThreads / 8;
using WarpSums = TileSums<1>;

constexpr int kChainStages = kLoraChain / kStageColumns;

/// 128 rows by 128 ranks over one split of the columns.
struct ShrinkTile {
  LoraUnit found;
  int tiles;  ///< That the units were made for.
  int first_row;
  int first_tile;
  int split;
};

__device__ ShrinkTile TileOf(const LoraUnit& found) {
  ShrinkTile tile;
  tile.found = found;
  tile.tiles = tile.found.entry.tiles;
  const int row_blocks = (tile.found.entry.rows + kPrefillRows - 1) / kPrefillRows;
  const int tile_blocks = (tile.tiles + kPrefillTiles - 1) / kPrefillTiles;
  tile.first_row = tile.found.unit % row_blocks * kPrefillRows;
  tile.first_tile = tile.found.unit / row_blocks % tile_blocks * kPrefillTiles;
  tile.split = tile.found.unit / row_blocks / tile_blocks;
  return tile;
}

/// Where a thread copies from: one column vector of kCopies rows of either side.
struct ShrinkSource {
  const __nv_bfloat16* x[kCopies];
  const __nv_bfloat16* a[kCopies];
  bool has_x[kCopies];  ///< Else zeros.
  bool has_a[kCopies];
};

/// From the split's first column.
__device__ ShrinkSource FindSource(const LoraParams& params, const ShrinkTile& tile) {
  ShrinkSource source;
  const LoraEntry& group = tile.found.entry;
  const int column = tile.split * kLoraSplit + static_cast<int>(threadIdx.x) % 8 * kVector;
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    const int row = static_cast<int>(threadIdx.x) / 8 + i * kCopyRows;
    source.has_x[i] = tile.first_row + row < group.rows;
    source.x[i] = params.x;
    if (source.has_x[i])
      source.x[i] +=
          RowNumbers(params)[group.first + tile.first_row + row] * params.x_stride + column;
    const int rank_tile = tile.first_tile + row / kLoraTile;
    source.has_a[i] = row % kLoraTile < WidthOf(tile.found.module, rank_tile);
    source.a[i] = params.x;
    if (source.has_a[i])
      source.a[i] = reinterpret_cast<const __nv_bfloat16*>(__ldg(&tile.found.tiles[rank_tile].a)) +
                    int64_t{row % kLoraTile} * params.in + column;
  }
  return source;
}

/// Starts the copy of the next 64 columns, of which `columns` are left, and moves on.
__device__ void CopyStage(ShrinkSource& source, int columns, uint32_t stage) {
  const int vector = threadIdx.x % 8;
  const int row = threadIdx.x / 8;
  const bool column = vector * kVector < columns;
  // The rows are a multiple of 32 apart, so they are swapped about alike.
  const uint32_t left = stage + vector / 4 * kBlockBytes + LeftOffset(row, vector % 4);
  const uint32_t right =
      stage + vector / 4 * kBlockBytes + kSideBytes + RightOffset(row, vector % 4);
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    CopyAsync(left + i * kCopyRows * 64, source.x[i], column && source.has_x[i]);
    CopyAsync(right + i * kCopyRows * 64, source.a[i], column && source.has_a[i]);
    // Where there is nothing to copy, the addresses are not read.
    source.x[i] += kStageColumns;
    source.a[i] += kStageColumns;
  }
}

/// The split's sums, [tile][row][rank] of the group.
__device__ void StoreSplit(const LoraParams& params, const ShrinkTile& tile, int columns,
                           const WarpSums& total) {
  const int lane = threadIdx.x % kWarp;
  const int rows = tile.found.entry.rows;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = tile.first_row + WarpRow() + m * 16 + high * 8 + lane / 4;
      const int rank = WarpColumn<1>() + lane % 4 * kVector;
      if (row >= rows || rank >= columns) continue;
      const int64_t at =
          (int64_t{tile.split} * tile.tiles + tile.first_tile + rank / kLoraTile) * rows + row;
      float* into = params.scratch + ScratchOf(tile.found) + at * kLoraTile + rank % kLoraTile;
      const auto sums = [&](int j, int i) { return total[m][j][2 * high + i]; };
      *reinterpret_cast<float4*>(into) =
          make_float4(sums(0, 0), sums(0, 1), sums(1, 0), sums(1, 1));
      *reinterpret_cast<float4*>(into + 4) =
          make_float4(sums(2, 0), sums(2, 1), sums(3, 0), sums(3, 1));
    }
}

/// Adds a chain to the split's sums, in order, and begins the next.
__device__ void EndChain(bool first, WarpSums& acc, WarpSums& total) {
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        total[m][n][i] = first ? acc[m][n][i] : total[m][n][i] + acc[m][n][i];
        acc[m][n][i] = 0.0F;
      }
}

template <int kStages>
__device__ void ShrinkOneTile(const LoraParams& params, const ShrinkTile& tile, std::byte* shared) {
  ShrinkSource source = FindSource(params, tile);
  const int split_columns = min(kLoraSplit, params.in - tile.split * kLoraSplit);
  const int stages = (split_columns + kStageColumns - 1) / kStageColumns;
  const uint32_t address = SharedAddress(shared);
  const LaneAddresses lane = AddressesOfLane<1>();
  const auto copy = [&](int stage) {
    if (stage < stages)
      CopyStage(source, split_columns - stage * kStageColumns,
                address + stage % kStages * kStageBytes);
    CommitCopies();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  const int columns = min(kPrefillTiles, tile.found.module.tiles - tile.first_tile) * kLoraTile;
  WarpSums acc = {};
  WarpSums total = {};
  for (int stage = 0; stage < stages; ++stage) {
    WaitCopies<kStages - 2>();
    __syncthreads();
    copy(stage + kStages - 1);
    const uint32_t filled = address + stage % kStages * kStageBytes;
    if (columns > WarpColumn<1>()) MultiplyStage<1>(filled, lane, acc);
    if ((stage + 1) % kChainStages == 0 || stage + 1 == stages)
      EndChain(stage < kChainStages, acc, total);
  }
  StoreSplit(params, tile, columns, total);
  __syncthreads();
}

template <int kStages>
__global__ void __launch_bounds__(kShrinkThreads, 1)
    LoraPrefillShrink(const __grid_constant__ LoraParams params) {
  extern __shared__ __align__(16) std::byte shared[];
  AwaitKernelBefore();
  AdmitKernelBehind();
  for (LoraCursor cursor = ReadStart<LoraWork::kPrefillShrink>(params); cursor.left > 0;
       Advance<LoraWork::kPrefillShrink>(params, cursor)) {
    const ShrinkTile tile = TileOf(cursor.found);
    if (tile.first_tile < tile.found.module.tiles) ShrinkOneTile<kStages>(params, tile, shared);
  }
}

/// Adds the splits in order, scales and rounds: A x as the product with B takes it.
__global__ void __launch_bounds__(kReduceThreads)
    LoraPrefillReduce(const __grid_constant__ LoraParams params) {
  AwaitKernelBefore();
  AdmitKernelBehind();
  const int splits = LoraSplits(params.in);
  for (LoraCursor cursor = ReadStart<LoraWork::kPrefillReduce>(params); cursor.left > 0;
       Advance<LoraWork::kPrefillReduce>(params, cursor)) {
    const LoraUnit& found = cursor.found;
    const int64_t tiles = found.entry.tiles;
    const int64_t split_stride = tiles * found.entry.rows * kLoraTile;
    const int quads = found.module.tiles * found.entry.rows * 4;
    const float* sums = params.scratch + ScratchOf(found);
    auto* finished =
        reinterpret_cast<uint2*>(params.scratch + ScratchOf(found) + splits * split_stride);
#pragma unroll
    for (int i = 0; i < kReduceUnit / kReduceThreads; ++i) {
      const int quad = found.unit * kReduceUnit + i * kReduceThreads + threadIdx.x;
      if (quad >= quads) break;
      float4 sum = LoadFreshFloats(sums + int64_t{quad} * 4);
#pragma unroll 4
      for (int split = 1; split < splits; ++split) {
        const float4 next = LoadFreshFloats(sums + split * split_stride + int64_t{quad} * 4);
        sum.x += next.x;
        sum.y += next.y;
        sum.z += next.z;
        sum.w += next.w;
      }
      const float scaling = found.module.scaling;
      finished[quad] = make_uint2(PackBf16(sum.x * scaling, sum.y * scaling),
                                  PackBf16(sum.z * scaling, sum.w * scaling));
    }
  }
}

}  // namespace

cudaError_t PreparePrefillShrink(int32_t shared_limit) {
  if (IsHopper(shared_limit)) return PrepareHopperShrink();
  const cudaError_t error =
      AllowStages(LoraPrefillShrink<kShrinkStages>, kShrinkStages, shared_limit);
  if (error != cudaSuccess) return error;
  return AllowStages(LoraPrefillShrink<kFewStages>, kFewStages, shared_limit);
}

void LaunchPrefillShrink(const LoraParams& params, cudaStream_t stream) {
  if (IsHopper(params.shared_limit))
    LaunchHopperShrink(params, stream);
  else if (StagesFit(params.shared_limit, kShrinkStages))
    LaunchKernel(LoraPrefillShrink<kShrinkStages>, params, LoraWork::kPrefillShrink, kShrinkThreads,
                 kShrinkStages * kStageBytes, stream);
  else
    LaunchKernel(LoraPrefillShrink<kFewStages>, params, LoraWork::kPrefillShrink, kShrinkThreads,
                 kFewStages * kStageBytes, stream);
  LaunchKernel(LoraPrefillReduce, params, LoraWork::kPrefillReduce, kReduceThreads, 0, stream);
}

}  // namespace weft::ops::cuda
