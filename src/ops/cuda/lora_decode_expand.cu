#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

constexpr LoraWork kWork = LoraWork::kDecodeExpand;

/// Rank tiles of a stage, at most; larger ranks take several passes.
constexpr int kPassTiles = 8;
constexpr int kMostRowTiles = 2;

/// A x of a group's rows, finished: [row][rank], rows padded against bank conflicts. Large enough
/// for whatever IsDecode lets through.
constexpr int kSumsElements = 32 * (16 * kLoraTile + kVector);
static_assert(kSumsElements >= 16 * (kMaxLoraTiles * kLoraTile + kVector));

/// How a stage's vectors are shared out: a warp has `columns` x 8 outputs and `blocks` x 32 ranks.
__device__ int ColumnsOf(int tiles) { return DecodeOut(tiles) / (8 * kDecodeWarps); }
/// Tiles for which there are sums: what the passes read.
__device__ int PaddedTiles(int tiles) {
  return tiles <= 2 ? 2 : tiles <= 4 ? 4 : (tiles + kPassTiles - 1) / kPassTiles * kPassTiles;
}
__device__ int SumStride(int tiles) { return PaddedTiles(tiles) * kLoraTile + kVector; }
__device__ int PassesOf(int tiles) { return max(1, (tiles + kPassTiles - 1) / kPassTiles); }
__device__ int FirstOut(const LoraCursor& cursor) {
  return cursor.found.unit * DecodeOut(cursor.found.entry.tiles) +
         static_cast<int>(threadIdx.x) / kWarp * ColumnsOf(cursor.found.entry.tiles) * 8;
}

/// Where this lane's weights of one pass of an entry lie, for its first output.
struct LaneTiles {
  const __nv_bfloat16* b[kRingCells / 2];
  int width[kRingCells / 2];  ///< 0: nothing there for this lane.
};

template <int kColumns>
__device__ void FindTiles(const LoraUnit& found, int pass, LaneTiles& tiles) {
  const int lane = threadIdx.x % kWarp;
  const int half = lane % 2;
#pragma unroll
  for (int block = 0; block < kRingCells / kColumns; ++block) {
    const int tile = pass * kPassTiles + block * 2 + lane % 4 / 2;
    const int width = WidthOf(found.module, tile);
    const bool exists = half * kVector < width;
    tiles.width[block] = exists ? width : 0;
    tiles.b[block] =
        reinterpret_cast<const __nv_bfloat16*>(exists ? __ldg(&found.tiles[tile].b) : 0) +
        lane / 4 * tiles.width[block] + half * kVector;
  }
}

/// Starts the copy of the warp's weights of one pass of the cursor's unit. Zeros where there are
/// none. Cell column * blocks + block has the outputs of `column` and the ranks of `block`.
template <int kColumns>
__device__ void CopyPass(const LoraCursor& cursor, int limit, const LaneTiles& tiles, uint32_t to) {
  constexpr int kBlocks = kRingCells / kColumns;
  const int out = FirstOut(cursor);
  const int outs = limit - out - static_cast<int>(threadIdx.x) % kWarp / 4;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int width = tiles.width[block];
    const __nv_bfloat16* b = tiles.b[block] + out * width;
#pragma unroll
    for (int column = 0; column < kColumns; ++column)
      CopyAsync(to + (column * kBlocks + block) * kCellBytes, b + column * 8 * width,
                width > 0 && column * 8 < outs);
  }
}

/// Adds the splits, scales, rounds: A x as the product with B takes it. Synchronises the block
/// before and after.
__device__ void FinishSums(const LoraParams& params, const LoraCursor& cursor,
                           __nv_bfloat16* sums) {
  const int rows = cursor.found.entry.rows;
  const int tiles = cursor.found.module.tiles;
  const int64_t split_stride = int64_t{cursor.found.entry.tiles} * rows * kLoraTile;
  const int splits = LoraSplits(params.in);
  const float scaling = cursor.found.module.scaling;
  const int stride = SumStride(cursor.found.entry.tiles);
  __syncthreads();
  // Of rows that do not exist, whatever is there makes sums that nobody stores.
  const int missing = PaddedTiles(cursor.found.entry.tiles) - tiles;
  for (int i = threadIdx.x; i < missing * rows * 2; i += kDecodeThreads)
    *reinterpret_cast<uint4*>(sums + i / 2 % rows * stride + (tiles + i / 2 / rows) * kLoraTile +
                              i % 2 * kVector) = make_uint4(0, 0, 0, 0);
#pragma unroll 2
  for (int i = threadIdx.x; i < tiles * rows * 4; i += kDecodeThreads) {
    const float* at = params.scratch + ScratchOf(cursor.found) + i * 4;
    float4 sum = LoadFreshFloats(at);
#pragma unroll 4
    for (int split = 1; split < splits; ++split) {
      const float4 next = LoadFreshFloats(at + split * split_stride);
      sum.x += next.x;
      sum.y += next.y;
      sum.z += next.z;
      sum.w += next.w;
    }
    *reinterpret_cast<uint2*>(sums + i / 4 % rows * stride + i / 4 / rows * kLoraTile + i % 4 * 4) =
        make_uint2(PackBf16(sum.x * scaling, sum.y * scaling),
                   PackBf16(sum.z * scaling, sum.w * scaling));
  }
  __syncthreads();
}

template <int kColumns>
using UnitSums = float[kMostRowTiles][kColumns][4];

/// acc += the product of one pass.
template <int kColumns>
__device__ void MultiplyPass(const LoraCursor& cursor, int pass, uint32_t sums, uint32_t stage,
                             UnitSums<kColumns>& acc) {
  constexpr int kBlocks = kRingCells / kColumns;
  const int lane = threadIdx.x % kWarp;
  const int stride = SumStride(cursor.found.entry.tiles) * 2;
  const int rows = cursor.found.entry.rows;
  const uint32_t at =
      sums + lane % 16 * stride + pass * kPassTiles * kLoraTile * 2 + lane / 16 * 16;
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m) {
    if (m * kRowTile >= rows) break;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const uint32_t from = at + m * kRowTile * stride + block * 64;
      const uint4 a[2] = {LoadMatrices(from), LoadMatrices(from + 32)};
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
        Multiply32(acc[m][column], a,
                   LoadMatrices(stage + (column * kBlocks + block) * kCellBytes));
    }
  }
}

/// The numbers of this lane's rows.
using LaneRows = int[kMostRowTiles][2];

__device__ void FindRows(const LoraParams& params, const LoraEntry& group, LaneRows& numbers) {
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high)
      numbers[m][high] = RowNumber(
          params, group, m * kRowTile + high * 8 + static_cast<int>(threadIdx.x) % kWarp / 4);
}

template <int kColumns>
__device__ void StoreDelta(const LoraParams& params, const LoraCursor& cursor,
                           const LaneRows& numbers, const UnitSums<kColumns>& acc) {
  const int lane = threadIdx.x % kWarp;
  const LoraDelta& delta = params.delta[cursor.found.entry.index];
  const int first_out = FirstOut(cursor) + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      if (m * kRowTile + high * 8 + lane / 4 >= cursor.found.entry.rows) continue;
      __nv_bfloat16* y = delta.y + numbers[m][high] * delta.stride + first_out;
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
        if (first_out + column * 8 < delta.out)
          *reinterpret_cast<uint32_t*>(y + column * 8) =
              PackBf16(acc[m][column][2 * high], acc[m][column][2 * high + 1]);
    }
}

/// Rows of the base model, and modules that an adapter leaves alone.
__device__ void StoreZeros(const LoraParams& params, const LoraCursor& cursor) {
  const LoraDelta& delta = params.delta[cursor.found.entry.index];
  const LoraEntry& group = cursor.found.entry;
  const int ranges = (delta.out + kZeroOut - 1) / kZeroOut;
  const int first_out = cursor.found.unit % ranges * kZeroOut;
  const int first = cursor.found.unit / ranges * kZeroRows;
  const int rows = min(kZeroRows, group.rows - first);
  const int vectors = min(kZeroOut, delta.out - first_out) / kVector;
  for (int row = threadIdx.x / kWarp; row < rows; row += kDecodeWarps) {
    __nv_bfloat16* y =
        delta.y + RowNumbers(params)[group.first + first + row] * delta.stride + first_out;
    for (int i = threadIdx.x % kWarp; i < vectors; i += kWarp)
      reinterpret_cast<uint4*>(y)[i] = make_uint4(0, 0, 0, 0);
  }
}

/// Keeps the ring filled, a pass a stage.
struct ExpandRing {
  WarpRing warp;
  LoraCursor ahead;
  LaneTiles tiles;
  bool found = false;  ///< Whether `tiles` are those of ahead's entry and pass.
  int ahead_pass = 0;
  int ahead_stage = 0;
  int stage = 0;

  template <int kColumns>
  __device__ void Copy(const LoraParams& params) {
    if (!found) FindTiles<kColumns>(ahead.found, ahead_pass, tiles);
    CopyPass<kColumns>(ahead, params.delta[ahead.found.entry.index].out, tiles,
                       warp.copy_to + ahead_stage * kStageOfRing);
  }

  /// Starts the next stage's copy, if the block's share has another.
  __device__ void CopyNext(const LoraParams& params) {
    StageWasRead();
    if (ahead.left > 0) {
      const int rank_tiles = ahead.found.entry.tiles;
      if (rank_tiles > 0) {
        if (ColumnsOf(rank_tiles) == 8)
          Copy<8>(params);
        else if (ColumnsOf(rank_tiles) == 4)
          Copy<4>(params);
        else
          Copy<2>(params);
      }
      const int passes = PassesOf(rank_tiles);
      found = passes == 1;
      if (++ahead_pass == passes) {
        ahead_pass = 0;
        if (Advance<kWork>(params, ahead)) found = false;
      }
    }
    ahead_stage = NextStage(ahead_stage);
    CommitCopies();
  }
};

template <int kColumns>
__device__ void ExpandUnit(const LoraParams& params, const LoraCursor& cursor, const LaneRows& rows,
                           uint32_t sums, ExpandRing& ring) {
  UnitSums<kColumns> acc = {};
  for (int pass = 0; pass < PassesOf(cursor.found.entry.tiles); ++pass) {
    ring.CopyNext(params);
    WaitForStage();
    MultiplyPass<kColumns>(cursor, pass, sums, ring.warp.read_from + ring.stage * kStageOfRing,
                           acc);
    ring.stage = NextStage(ring.stage);
  }
  StoreDelta<kColumns>(params, cursor, rows, acc);
}

__global__ void __launch_bounds__(kDecodeThreads, 3)
    LoraDecodeExpand(const __grid_constant__ LoraParams params) {
  __shared__ __align__(16) __nv_bfloat16 sums[kSumsElements];
  extern __shared__ __align__(128) std::byte memory[];
  LoraCursor cursor = ReadStart<kWork>(params);
  if (cursor.left == 0) {
    WaitForKernelBefore();  // Whoever waits for this kernel relies on all before it.
    return;
  }
  ExpandRing ring = {RingOfWarp(memory), cursor};
  for (int stage = 0; stage < kRingStages - 1; ++stage) ring.CopyNext(params);
  LaneRows rows;
  FindRows(params, cursor.found.entry, rows);
  WaitForKernelBefore();
  LetNextKernelStart();
  bool fresh = false;  // Whether `sums` are those of the cursor's entry.
  while (cursor.left > 0) {
    if (cursor.found.entry.tiles > 0 && !fresh) FinishSums(params, cursor, sums);
    if (cursor.found.entry.tiles == 0) {
      ring.CopyNext(params);
      StoreZeros(params, cursor);
      ring.stage = NextStage(ring.stage);
    } else if (ColumnsOf(cursor.found.entry.tiles) == 8) {
      ExpandUnit<8>(params, cursor, rows, SharedAddress(sums), ring);
    } else if (ColumnsOf(cursor.found.entry.tiles) == 4) {
      ExpandUnit<4>(params, cursor, rows, SharedAddress(sums), ring);
    } else {
      ExpandUnit<2>(params, cursor, rows, SharedAddress(sums), ring);
    }
    fresh = !Advance<kWork>(params, cursor);
    if (!fresh && cursor.left > 0) FindRows(params, cursor.found.entry, rows);
  }
}

}  // namespace

cudaError_t PrepareDecodeExpand() {
  return cudaFuncSetAttribute(LoraDecodeExpand, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kRingBytes);
}

void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeExpand, params, kWork, kDecodeThreads, kRingBytes, stream);
}

}  // namespace weft::ops::cuda
