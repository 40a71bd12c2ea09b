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

/// Starts the copy of this thread's weights of one pass of the cursor's unit. Zeros where there are
/// none.
__device__ void CopyWeights(const LoraParams& params, const DecodeCursor& cursor, int pass,
                            std::byte* ring, int stage) {
  if (cursor.tiles == 0) return;
  const int lane = threadIdx.x % kWarp;
  const int half = lane % 2;
  const int columns = ColumnsOf(cursor.tiles);
  const int blocks = kRingVectors / columns;
  const int limit = params.delta[cursor.found.index].out;
  const int first_out = FirstOut(cursor) + lane / 4;
#pragma unroll
  for (int i = 0; i < kRingVectors; ++i) {
    const int tile = pass * kPassTiles + i % blocks * 2 + lane % 4 / 2;
    const int out = first_out + i / blocks * 8;
    const int width = WidthOf(cursor.found.module, tile);
    const bool valid = half * kVector < width && out < limit;
    const __nv_bfloat16* b = params.x;
    if (valid)
      b = reinterpret_cast<const __nv_bfloat16*>(__ldg(&cursor.found.tiles[tile].b)) +
          int64_t{out} * width + half * kVector;
    CopyAsync(SharedAddress(RingVector(ring, stage, i)), b, valid);
  }
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
__device__ void MultiplyPass(const DecodeCursor& cursor, int pass, const __nv_bfloat16* sums,
                             std::byte* ring, int stage, UnitSums<kColumns>& acc) {
  constexpr int kBlocks = kRingVectors / kColumns;
  const int lane = threadIdx.x % kWarp;
  const int stride = SumStride(cursor.tiles);
  const int rows = cursor.found.group->rows;
  const __nv_bfloat16* at =
      sums + lane / 4 * stride + pass * kPassTiles * kLoraTile + lane % 4 * kVector;
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m) {
    if (m * kRowTile >= rows) break;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const __nv_bfloat16* low_at = at + m * kRowTile * stride + block * 32;
      const uint4 low = *reinterpret_cast<const uint4*>(low_at);
      const uint4 high = *reinterpret_cast<const uint4*>(low_at + 8 * stride);
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
        Multiply32(acc[m][column], low, high,
                   *RingVector(ring, stage, column * kBlocks + block));
    }
  }
}

template <int kColumns>
__device__ void StoreDelta(const LoraParams& params, const DecodeCursor& cursor,
                           const UnitSums<kColumns>& acc) {
  const int lane = threadIdx.x % kWarp;
  const LoraDelta& delta = params.delta[cursor.found.index];
  const LoraGroup& group = *cursor.found.group;
  const int first_out = FirstOut(cursor) + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < kMostRowTiles; ++m)
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = m * kRowTile + high * 8 + lane / 4;
      if (row >= group.rows) continue;
      __nv_bfloat16* y = delta.y + RowNumbers(params)[group.first + row] * delta.stride;
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
        const int out = first_out + column * 8;
        if (out < delta.out)
          *reinterpret_cast<uint32_t*>(y + out) =
              PackBf16(acc[m][column][2 * high], acc[m][column][2 * high + 1]);
      }
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
  const LoraParams& params;
  const LoraUnits& units;
  std::byte* memory;
  DecodeCursor ahead;
  int ahead_pass = 0;
  int ahead_stage = 0;
  int stage = 0;

  /// Starts the next stage's copy, if the block's share has another.
  __device__ void CopyNext() {
    if (ahead.number < ahead.end) {
      CopyWeights(params, ahead, ahead_pass, memory, ahead_stage);
      ahead_stage = (ahead_stage + 1) % kRingStages;
      if (++ahead_pass == PassesOf(ahead.tiles)) {
        ahead_pass = 0;
        Advance(params, units, ahead);
      }
    }
    CommitCopies();
  }
  __device__ void NextStage() { stage = (stage + 1) % kRingStages; }
};

template <int kColumns>
__device__ void ExpandUnit(const DecodeCursor& cursor, const __nv_bfloat16* sums,
                           ExpandRing& ring) {
  UnitSums<kColumns> acc = {};
  for (int pass = 0; pass < PassesOf(cursor.tiles); ++pass) {
    ring.CopyNext();
    WaitCopies<kRingStages - 1>();
    MultiplyPass<kColumns>(cursor, pass, sums, ring.memory, ring.stage, acc);
    ring.NextStage();
  }
  StoreDelta<kColumns>(ring.params, cursor, acc);
}

__global__ void __launch_bounds__(kDecodeThreads, 4)
    LoraDecodeExpand(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) __nv_bfloat16 sums[kSumsElements];
  extern __shared__ __align__(16) std::byte memory[];
  ReadUnits(params, LoraWork::kDecodeExpand, units);
  DecodeCursor cursor = ShareOfBlock(params, units);
  ExpandRing ring = {params, units, memory, cursor};
  for (int stage = 0; stage < kRingStages - 1; ++stage) ring.CopyNext();
  WaitForKernelBefore();
  LetNextKernelStart();
  bool fresh = false;  // Whether `sums` are those of the cursor's entry.
  while (cursor.number < cursor.end) {
    if (cursor.tiles > 0 && !fresh) FinishSums(params, cursor, sums);
    if (cursor.tiles == 0) {
      ring.CopyNext();
      StoreZeros(params, cursor);
      ring.NextStage();
    } else if (ColumnsOf(cursor.tiles) == 8) {
      ExpandUnit<8>(cursor, sums, ring);
    } else if (ColumnsOf(cursor.tiles) == 4) {
      ExpandUnit<4>(cursor, sums, ring);
    } else {
      ExpandUnit<2>(cursor, sums, ring);
    }
    fresh = !Advance(params, units, cursor);
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
