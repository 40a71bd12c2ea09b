#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

static_assert(kLoraSplit == kDecodeWarps * kLoraChain, "A warp sums a chain.");
static_assert(kLoraChain == kRingVectors * 32 && kDecodeRanks == 8);

constexpr int kHalves = kLoraTile / kDecodeRanks;

/// Eight ranks of A over one split of the columns: half of a rank tile.
struct ShrinkUnit {
  int half;
  int tile;
  int split;
};

__device__ ShrinkUnit UnitOf(const DecodeCursor& cursor) {
  const int tile = cursor.found.unit / kHalves;
  return {cursor.found.unit % kHalves, tile % cursor.tiles, tile / cursor.tiles};
}

/// The first column of this thread's vectors; the next are 32 apart.
__device__ int FirstColumn(int split) {
  return split * kLoraSplit + static_cast<int>(threadIdx.x) / kWarp * kLoraChain +
         static_cast<int>(threadIdx.x) % 4 * kVector;
}

/// Starts the copy of this thread's weights of the cursor's unit. Zeros where there are none.
__device__ void CopyWeights(const LoraParams& params, const DecodeCursor& cursor, std::byte* ring,
                            int stage) {
  const ShrinkUnit unit = UnitOf(cursor);
  const bool exists = unit.half * kDecodeRanks < WidthOf(cursor.found.module, unit.tile);
  const int rank = unit.half * kDecodeRanks + threadIdx.x % kWarp / 4;
  const int k = FirstColumn(unit.split);
  const __nv_bfloat16* row = params.x;
  if (exists)
    row = reinterpret_cast<const __nv_bfloat16*>(__ldg(&cursor.found.tiles[unit.tile].a)) +
          int64_t{rank} * params.in + k;
#pragma unroll
  for (int i = 0; i < kRingVectors; ++i) {
    const bool valid = exists && k + i * 32 < params.in;
    CopyAsync(SharedAddress(RingVector(ring, stage, i)), valid ? row + i * 32 : params.x, valid);
  }
}

/// This warp's chain of x for 16 rows, as Multiply32 takes it.
struct RowChain {
  uint4 low[kRingVectors];
  uint4 high[kRingVectors];
};

/// Of rows [first, first + 16) of the group, of which `rows` exist.
__device__ void LoadRows(const LoraParams& params, const LoraGroup& group, int split, int first,
                         RowChain& chain) {
  const int lane = threadIdx.x % kWarp;
  const int rows = group.rows - first;
  const int k = FirstColumn(split);
  const int32_t* numbers = RowNumbers(params) + group.first + first;
  const bool low_row = lane / 4 < rows;
  const bool high_row = lane / 4 + 8 < rows;
  const __nv_bfloat16* low = params.x + (low_row ? numbers[lane / 4] : 0) * params.x_stride + k;
  const __nv_bfloat16* high =
      params.x + (high_row ? numbers[lane / 4 + 8] : 0) * params.x_stride + k;
#pragma unroll
  for (int i = 0; i < kRingVectors; ++i) {
    chain.low[i] = make_uint4(0, 0, 0, 0);
    chain.high[i] = make_uint4(0, 0, 0, 0);
    const bool column = k + i * 32 < params.in;
    if (low_row && column) chain.low[i] = LoadFresh(low + i * 32);
    if (high_row && column) chain.high[i] = LoadFresh(high + i * 32);
  }
}

using ChainSums = float[kDecodeWarps][kRowTile][kDecodeRanks];

/// Adds the warps' chains and writes the split's sums. Synchronises the block once: `sums` must not
/// be the same at the next call.
__device__ void StoreSplit(const LoraParams& params, const DecodeCursor& cursor, int first,
                           const float (&acc)[4], ChainSums& sums) {
  const ShrinkUnit unit = UnitOf(cursor);
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int high = 0; high < 2; ++high)
    *reinterpret_cast<float2*>(&sums[warp][lane / 4 + 8 * high][lane % 4 * 2]) =
        make_float2(acc[2 * high], acc[2 * high + 1]);
  __syncthreads();
  const int row = threadIdx.x / kDecodeRanks;
  const int rank = threadIdx.x % kDecodeRanks;
  const int rows = cursor.found.group->rows;
  if (first + row >= rows) return;
  float sum = sums[0][row][rank];
  const int columns = params.in - unit.split * kLoraSplit;
#pragma unroll
  for (int chain = 1; chain < kDecodeWarps; ++chain)
    if (chain * kLoraChain < columns) sum += sums[chain][row][rank];
  const int64_t at = int64_t{unit.split * cursor.tiles + unit.tile} * rows + first + row;
  params.scratch[cursor.found.scratch + at * kLoraTile + unit.half * kDecodeRanks + rank] = sum;
}

__global__ void __launch_bounds__(kDecodeThreads, 4)
    LoraDecodeShrink(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) ChainSums sums[2];
  extern __shared__ __align__(16) std::byte ring[];
  ReadUnits(params, LoraWork::kDecodeShrink, units);
  DecodeCursor ahead = ShareOfBlock(params, units);
  DecodeCursor cursor = ahead;
  for (int stage = 0; stage < kRingStages - 1; ++stage) {
    if (ahead.number < ahead.end) {
      CopyWeights(params, ahead, ring, stage);
      Advance(params, units, ahead);
    }
    CommitCopies();
  }
  WaitForKernelBefore();
  LetNextKernelStart();
  RowChain chain;
  bool fresh = false;  // Whether `chain` holds the cursor's group and split.
  int parity = 0;
  for (int stage = 0; cursor.number < cursor.end; stage = (stage + 1) % kRingStages) {
    const int split = UnitOf(cursor).split;
    if (!fresh) LoadRows(params, *cursor.found.group, split, 0, chain);
    fresh = true;
    if (ahead.number < ahead.end) {
      CopyWeights(params, ahead, ring, (stage + kRingStages - 1) % kRingStages);
      Advance(params, units, ahead);
    }
    CommitCopies();
    WaitCopies<kRingStages - 1>();
    const int rows = cursor.found.group->rows;
    for (int first = 0; first < rows; first += kRowTile) {
      if (first > 0) {
        LoadRows(params, *cursor.found.group, split, first, chain);
        fresh = false;
      }
      float acc[4] = {};
#pragma unroll
      for (int i = 0; i < kRingVectors; ++i)
        Multiply32(acc, chain.low[i], chain.high[i], *RingVector(ring, stage, i));
      StoreSplit(params, cursor, first, acc, sums[parity]);
      parity ^= 1;
    }
    if (Advance(params, units, cursor) ||
        (cursor.number < cursor.end && UnitOf(cursor).split != split))
      fresh = false;
  }
}

}  // namespace

cudaError_t PrepareDecodeShrink() {
  return cudaFuncSetAttribute(LoraDecodeShrink, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kRingBytes);
}

void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeShrink, params, kDecodeBlocks, kDecodeThreads, kRingBytes, stream);
}

}  // namespace weft::ops::cuda
