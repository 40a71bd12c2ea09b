#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

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
__device__ int FirstOut(const DecodeCursor& cursor) {
  return cursor.found.unit * DecodeOut(cursor.tiles) +
         static_cast<int>(threadIdx.x) / kWarp * ColumnsOf(cursor.tiles) * 8;
}

/// Starts the copy of the warp's weights of one pass of the cursor's unit. Zeros where there are
/// none. Cell column * blocks + block has the outputs of `column` and the ranks of `block`.
template <int kColumns>
__device__ void CopyPass(const LoraParams& params, const DecodeCursor& cursor, int pass,
                         uint32_t to) {
  constexpr int kBlocks = kRingCells / kColumns;
  const int lane = threadIdx.x % kWarp;
  const int half = lane % 2;
  const int out = FirstOut(cursor) + lane / 4;
  const int limit = params.delta[cursor.found.index].out;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int tile = pass * kPassTiles + block * 2 + lane % 4 / 2;
    const int width = WidthOf(cursor.found.module, tile);
    const bool exists = half * kVector < width;
    const uint64_t tile_b = exists ? __ldg(&cursor.found.tiles[tile].b) : 0;
    const auto* b =
        reinterpret_cast<const __nv_bfloat16*>(tile_b) + out * width + half * kVector;
    const int outs = exists ? limit - out : 0;
#pragma unroll
    for (int column = 0; column < kColumns; ++column)
      CopyAsync(to + (column * kBlocks + block) * kCellBytes, b + column * 8 * width,
                column * 8 < outs);
  }
}

__device__ void CopyWeights(const LoraParams& params, const DecodeCursor& cursor, int pass,
                            uint32_t to) {
  if (cursor.tiles == 0) return;
  if (ColumnsOf(cursor.tiles) == 8)
    CopyPass<8>(params, cursor, pass, to);
  else if (ColumnsOf(cursor.tiles) == 4)
    CopyPass<4>(params, cursor, pass, to);
  else
    CopyPass<2>(params, cursor, pass, to);
}

/// Adds the splits, scales, rounds: A x as the product with B takes it. Synchronises the block
/// before and after.
__device__ void FinishSums(const LoraParams& params, const DecodeCursor& cursor,
                           __nv_bfloat16* sums) {
  const int rows = cursor.found.group->rows;
  const int padded_rows = (rows + kRowTile - 1) / kRowTile * kRowTile;
  const int64_t split_stride = int64_t{cursor.tiles} * rows * kLoraTile;
  const int splits = LoraSplits(params.in);
  const float scaling = cursor.found.module.scaling;
  const int stride = SumStride(cursor.tiles);
  const int tiles = cursor.found.module.tiles;
  __syncthreads();
  for (int i = threadIdx.x; i < PaddedTiles(cursor.tiles) * padded_rows * 2; i += kDecodeThreads) {
    const int row = i / 2 % padded_rows;
    const int tile = i / 2 / padded_rows;
    if (row >= rows || tile >= tiles)
      *reinterpret_cast<uint4*>(sums + row * stride + tile * kLoraTile + i % 2 * kVector) =
          make_uint4(0, 0, 0, 0);
  }
#pragma unroll 2
  for (int i = threadIdx.x; i < tiles * rows * 4; i += kDecodeThreads) {
    const float* at = params.scratch + cursor.found.scratch + int64_t{i} * 4;
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
__device__ void MultiplyPass(const DecodeCursor& cursor, int pass, uint32_t sums, uint32_t stage,
                             UnitSums<kColumns>& acc) {
  constexpr int kBlocks = kRingCells / kColumns;
  const int lane = threadIdx.x % kWarp;
  const int stride = SumStride(cursor.tiles) * 2;
  const int rows = cursor.found.group->rows;
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

__device__ void FindRows(const LoraParams& params, const LoraGroup& group, LaneRows& numbers) {
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high)
      numbers[m][high] = RowNumber(params, group,
                                   m * kRowTile + high * 8 +
                                       static_cast<int>(threadIdx.x) % kWarp / 4);
}

template <int kColumns>
__device__ void StoreDelta(const LoraParams& params, const DecodeCursor& cursor,
                           const LaneRows& numbers, const UnitSums<kColumns>& acc) {
  const int lane = threadIdx.x % kWarp;
  const LoraDelta& delta = params.delta[cursor.found.index];
  const int first_out = FirstOut(cursor) + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      if (m * kRowTile + high * 8 + lane / 4 >= cursor.found.group->rows) continue;
      __nv_bfloat16* y = delta.y + numbers[m][high] * delta.stride + first_out;
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
        if (first_out + column * 8 < delta.out)
          *reinterpret_cast<uint32_t*>(y + column * 8) =
              PackBf16(acc[m][column][2 * high], acc[m][column][2 * high + 1]);
    }
}

/// Rows of the base model, and modules that an adapter leaves alone.
__device__ void StoreZeros(const LoraParams& params, const DecodeCursor& cursor) {
  const LoraDelta& delta = params.delta[cursor.found.index];
  const LoraGroup& group = *cursor.found.group;
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
  DecodeCursor ahead;
  int ahead_pass = 0;
  int ahead_stage = 0;
  int stage = 0;

  /// Starts the next stage's copy, if the block's share has another.
  __device__ void CopyNext(const LoraParams& params, const LoraUnits& units) {
    StageWasRead();
    if (ahead.number < ahead.end) {
      CopyWeights(params, ahead, ahead_pass, warp.copy_to + ahead_stage * kStageOfRing);
      if (++ahead_pass == PassesOf(ahead.tiles)) {
        ahead_pass = 0;
        Advance(params, units, ahead);
      }
    }
    ahead_stage = NextStage(ahead_stage);
    CommitCopies();
  }
};

template <int kColumns>
__device__ void ExpandUnit(const LoraParams& params, const LoraUnits& units,
                           const DecodeCursor& cursor, const LaneRows& rows, uint32_t sums,
                           ExpandRing& ring) {
  UnitSums<kColumns> acc = {};
  for (int pass = 0; pass < PassesOf(cursor.tiles); ++pass) {
    ring.CopyNext(params, units);
    WaitForStage();
    MultiplyPass<kColumns>(cursor, pass, sums,
                           ring.warp.read_from + ring.stage * kStageOfRing, acc);
    ring.stage = NextStage(ring.stage);
  }
  StoreDelta<kColumns>(params, cursor, rows, acc);
}

__global__ void __launch_bounds__(kDecodeThreads, 3)
    LoraDecodeExpand(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) __nv_bfloat16 sums[kSumsElements];
  extern __shared__ __align__(128) std::byte memory[];
  ReadUnits(params, LoraWork::kDecodeExpand, units);
  DecodeCursor cursor = ShareOfBlock(params, units);
  ExpandRing ring = {RingOfWarp(memory), cursor};
  for (int stage = 0; stage < kRingStages - 1; ++stage) ring.CopyNext(params, units);
  LaneRows rows;
  if (cursor.number < cursor.end) FindRows(params, *cursor.found.group, rows);
  WaitForKernelBefore();
  LetNextKernelStart();
  bool fresh = false;  // Whether `sums` are those of the cursor's entry.
  while (cursor.number < cursor.end) {
    if (cursor.tiles > 0 && !fresh) FinishSums(params, cursor, sums);
    if (cursor.tiles == 0) {
      ring.CopyNext(params, units);
      StoreZeros(params, cursor);
      ring.stage = NextStage(ring.stage);
    } else if (ColumnsOf(cursor.tiles) == 8) {
      ExpandUnit<8>(params, units, cursor, rows, SharedAddress(sums), ring);
    } else if (ColumnsOf(cursor.tiles) == 4) {
      ExpandUnit<4>(params, units, cursor, rows, SharedAddress(sums), ring);
    } else {
      ExpandUnit<2>(params, units, cursor, rows, SharedAddress(sums), ring);
    }
    fresh = !Advance(params, units, cursor);
    if (!fresh && cursor.number < cursor.end) FindRows(params, *cursor.found.group, rows);
  }
}

}  // namespace

cudaError_t PrepareDecodeExpand() {
  return cudaFuncSetAttribute(LoraDecodeExpand, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kRingBytes);
}

void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeExpand, params, kDecodeBlocks, kDecodeThreads, kRingBytes, stream);
}

}  // namespace weft::ops::cuda
