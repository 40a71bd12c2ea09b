#include "ops/cuda/lora_hopper.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_prefill.cuh"

namespace weft::ops::cuda {
namespace {

/// Rank tiles of a stage.
constexpr int kStageTiles = kStageColumns / kLoraTile;
static_assert(kStageTiles * kExpandThreads == kSideVectors, "A thread copies one of each tile.");
using WarpSums = TileSums<2>;

/// 128 rows by kPrefillOut outputs of one projection.
struct ExpandTile {
  LoraUnit found;
  const __nv_bfloat16* sums;  ///< Finished: [tile][row][rank] of the group.
  int first_row;
  int first_out;
  int out;
};

__device__ ExpandTile TileOf(const LoraParams& params, const LoraUnit& found) {
  ExpandTile tile;
  tile.found = found;
  const int64_t rows = tile.found.entry.rows;
  const int64_t tiles = tile.found.entry.tiles;
  tile.sums = reinterpret_cast<const __nv_bfloat16*>(
      params.scratch + ScratchOf(tile.found) + LoraSplits(params.in) * tiles * rows * kLoraTile);
  tile.out = params.delta[tile.found.entry.index].out;
  const int ranges = (tile.out + kPrefillOut - 1) / kPrefillOut;
  tile.first_row = tile.found.unit / ranges * kPrefillRows;
  tile.first_out = tile.found.unit % ranges * kPrefillOut;
  return tile;
}

/// What of a tile is looked up once.
struct ExpandPlaces {
  const uint64_t* tile_b;  ///< Of each rank tile, in shared memory.
  int numbers[2][2];       ///< Of this lane's rows.
};

/// By the whole block, which it synchronises.
__device__ ExpandPlaces FindPlaces(const LoraParams& params, const ExpandTile& tile,
                                   uint64_t* tile_b) {
  if (static_cast<int>(threadIdx.x) < tile.found.module.tiles)
    tile_b[threadIdx.x] = __ldg(&tile.found.tiles[threadIdx.x].b);
  ExpandPlaces places = {tile_b, {}};
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = tile.first_row + WarpRow() + m * 16 + high * 8 +
                      static_cast<int>(threadIdx.x) % kWarp / 4;
      places.numbers[m][high] = row < tile.found.entry.rows
                                    ? __ldg(&RowNumbers(params)[tile.found.entry.first + row])
                                    : 0;
    }
  __syncthreads();
  return places;
}

/// Starts the copy of rank tiles [first_tile, first_tile + 4) for 128 outputs from first_out.
__device__ void CopyStage(const ExpandTile& tile, const ExpandPlaces& places, int first_tile,
                          int first_out, uint32_t stage) {
  const int half = threadIdx.x % 2;
  const int line = threadIdx.x / 2;
  const int row = tile.first_row + line;
  const int out = first_out + line;
  const int64_t rows = tile.found.entry.rows;
#pragma unroll
  for (int i = 0; i < kStageTiles; ++i) {
    const int rank_tile = first_tile + i;
    const int width = WidthOf(tile.found.module, rank_tile);
    const uint32_t at = stage + i / 2 * kBlockBytes;
    const int vector = i % 2 * 2 + half;
    const bool left = width > 0 && row < rows;
    CopyAsync(at + LeftOffset(line, vector),
              tile.sums + (left ? (rank_tile * rows + row) * kLoraTile + half * kVector : 0), left);
    const bool right = half * kVector < width && out < tile.out;
    const auto* b = right ? reinterpret_cast<const __nv_bfloat16*>(places.tile_b[rank_tile]) +
                                out * width + half * kVector
                          : tile.sums;
    CopyAsync(at + kSideBytes + RightOffset(line, vector), b, right);
  }
}

__device__ void StoreDelta(const LoraParams& params, const ExpandTile& tile,
                           const ExpandPlaces& places, int first_out, const WarpSums& acc) {
  const int lane = threadIdx.x % kWarp;
  const LoraDelta& delta = params.delta[tile.found.entry.index];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = tile.first_row + WarpRow() + m * 16 + high * 8 + lane / 4;
      if (row >= tile.found.entry.rows) continue;
      __nv_bfloat16* y = delta.y + places.numbers[m][high] * delta.stride;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int out = first_out + WarpColumn<2>() + part * 32 + lane % 4 * kVector;
        if (out >= tile.out) continue;
        const auto pair = [&](int j) {
          const float(&sums)[4] = acc[m][part * 4 + j];
          return PackBf16(sums[2 * high], sums[2 * high + 1]);
        };
        *reinterpret_cast<uint4*>(y + out) = make_uint4(pair(0), pair(1), pair(2), pair(3));
      }
    }
}

template <int kStages>
__device__ void ExpandOneTile(const LoraParams& params, const ExpandTile& tile, uint64_t* tile_b,
                              std::byte* shared) {
  const ExpandPlaces places = FindPlaces(params, tile, tile_b);
  // Stages run through the rank, then to the next 128 outputs. A module without tiles takes one
  // stage of zeros.
  const int stages_each = max(1, (tile.found.module.tiles + kStageTiles - 1) / kStageTiles);
  const int sides = (min(kPrefillOut, tile.out - tile.first_out) + kSide - 1) / kSide;
  const int stages = sides * stages_each;
  const uint32_t address = SharedAddress(shared);
  const LaneAddresses lane = AddressesOfLane<2>();
  const auto copy = [&](int stage) {
    if (stage < stages)
      CopyStage(tile, places, stage % stages_each * kStageTiles,
                tile.first_out + stage / stages_each * kSide,
                address + stage % kStages * kStageBytes);
    CommitCopies();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
  WarpSums acc = {};
  for (int stage = 0; stage < stages; ++stage) {
    WaitCopies<kStages - 2>();
    __syncthreads();
    copy(stage + kStages - 1);
    MultiplyStage<2>(address + stage % kStages * kStageBytes, lane, acc);
    if ((stage + 1) % stages_each != 0) continue;
    StoreDelta(params, tile, places, tile.first_out + stage / stages_each * kSide, acc);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) acc[m][n][i] = 0.0F;
  }
  __syncthreads();
}

template <int kStages>
__global__ void __launch_bounds__(kExpandThreads, 1)
    LoraPrefillExpand(const __grid_constant__ LoraParams params) {
  __shared__ uint64_t tile_b[kMaxLoraTiles];
  extern __shared__ __align__(16) std::byte shared[];
  AwaitKernelBefore();
  AdmitKernelBehind();
  for (LoraCursor cursor = ReadStart<LoraWork::kPrefillExpand>(params); cursor.left > 0;
       Advance<LoraWork::kPrefillExpand>(params, cursor))
    ExpandOneTile<kStages>(params, TileOf(params, cursor.found), tile_b, shared);
}

}  // namespace

cudaError_t PreparePrefillExpand(int32_t shared_limit) {
  if (IsHopper(shared_limit)) return PrepareHopperExpand();
  const cudaError_t error =
      AllowStages(LoraPrefillExpand<kExpandStages>, kExpandStages, shared_limit);
  if (error != cudaSuccess) return error;
  return AllowStages(LoraPrefillExpand<kFewStages>, kFewStages, shared_limit);
}

void LaunchPrefillExpand(const LoraParams& params, cudaStream_t stream) {
  if (IsHopper(params.shared_limit))
    LaunchHopperExpand(params, stream);
  else if (StagesFit(params.shared_limit, kExpandStages))
    LaunchKernel(LoraPrefillExpand<kExpandStages>, params, LoraWork::kPrefillExpand, kExpandThreads,
                 kExpandStages * kStageBytes, stream);
  else
    LaunchKernel(LoraPrefillExpand<kFewStages>, params, LoraWork::kPrefillExpand, kExpandThreads,
                 kFewStages * kStageBytes, stream);
}

}  // namespace weft::ops::cuda
