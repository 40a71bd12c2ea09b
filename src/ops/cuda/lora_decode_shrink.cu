#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

static_assert(kLoraSplit == kDecodeWarps * kLoraChain, "A warp sums a chain.");
static_assert(kLoraChain == kRingCells * 32 && kDecodeRanks == 8);

constexpr int kHalves = kLoraTile / kDecodeRanks;

/// The cursor's unit: eight ranks of A over one split of the columns, half of a rank tile. Halves
/// come first, then tiles, then splits.
struct ShrinkUnit {
  int half;
  int tile;
  int split;
};

__device__ ShrinkUnit UnitOf(const DecodeCursor& cursor) {
  const int tile = cursor.found.unit / kHalves;
  return {cursor.found.unit % kHalves, tile % max(1, cursor.tiles), tile / max(1, cursor.tiles)};
}

/// To the unit after `unit` of the same entry.
__device__ void Step(int tiles, ShrinkUnit& unit) {
  if (++unit.half < kHalves) return;
  unit.half = 0;
  if (++unit.tile < tiles) return;
  unit.tile = 0;
  ++unit.split;
}

/// A cursor with its unit at hand.
struct ShrinkCursor {
  DecodeCursor at;
  ShrinkUnit unit;
};

/// Returns whether x is another's: another entry or split.
__device__ bool Advance(const LoraParams& params, const LoraUnits& units, ShrinkCursor& cursor) {
  const int split = cursor.unit.split;
  if (Advance(params, units, cursor.at)) {
    cursor.unit = UnitOf(cursor.at);
    return true;
  }
  Step(cursor.at.tiles, cursor.unit);
  return cursor.unit.split != split;
}

/// The first column of this warp's chain.
__device__ int ChainColumn(int split) {
  return split * kLoraSplit + static_cast<int>(threadIdx.x) / kWarp * kLoraChain;
}

/// Starts the copy of the warp's weights of the cursor's unit. Zeros where there are none.
__device__ void CopyWeights(const LoraParams& params, const ShrinkCursor& cursor,
                            const WarpRing& ring, int stage) {
  const int lane = threadIdx.x % kWarp;
  const auto* a = reinterpret_cast<const __nv_bfloat16*>(
      __ldg(&cursor.at.found.tiles[cursor.unit.tile].a));
  const int rank = cursor.unit.half * kDecodeRanks + lane / 4;
  const bool exists = rank < WidthOf(cursor.at.found.module, cursor.unit.tile);
  const int k = ChainColumn(cursor.unit.split) + lane % 4 * kVector;
  const __nv_bfloat16* row = a + int64_t{rank} * params.in + k;
  const uint32_t to = ring.copy_to + stage * kStageOfRing;
  const int columns = exists ? params.in - k : 0;
#pragma unroll
  for (int i = 0; i < kRingCells; ++i)
    CopyAsync(to + i * kCellBytes, row + i * 32, i * 32 < columns);
}

/// This warp's chain of x for 16 rows, as the tensor cores take it.
using RowChain = uint4[kRingCells][2];

__device__ uint32_t LoadPair(const __nv_bfloat16* x, bool valid) {
  return valid ? __ldcg(reinterpret_cast<const uint32_t*>(x)) : 0;
}

/// `low` and `high`: the numbers of this lane's rows, of which `rows` of 16 exist.
__device__ void LoadRows(const LoraParams& params, int rows, int split, int low, int high,
                         RowChain& chain) {
  const int lane = threadIdx.x % kWarp;
  const int k = ChainColumn(split) + lane % 4 * 2;
  const int columns = params.in - k;
  const bool has_low = lane / 4 < rows;
  const bool has_high = lane / 4 + 8 < rows;
  const __nv_bfloat16* low_x = params.x + low * params.x_stride + k;
  const __nv_bfloat16* high_x = params.x + high * params.x_stride + k;
#pragma unroll
  for (int i = 0; i < kRingCells; ++i)
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const int at = i * 32 + step * 16;
      uint4& a = chain[i][step];
      a.x = LoadPair(low_x + at, has_low && at < columns);
      a.y = LoadPair(high_x + at, has_high && at < columns);
      a.z = LoadPair(low_x + at + 8, has_low && at + 8 < columns);
      a.w = LoadPair(high_x + at + 8, has_high && at + 8 < columns);
    }
}

using ChainSums = float[kDecodeWarps][kRowTile][kDecodeRanks];

/// Adds the warps' chains and writes the split's sums. Synchronises the block once: `sums` must not
/// be the same at the next call.
__device__ void StoreSplit(const LoraParams& params, const ShrinkCursor& cursor, int first,
                           const float (&acc)[4], ChainSums& sums) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int high = 0; high < 2; ++high)
    *reinterpret_cast<float2*>(&sums[warp][lane / 4 + 8 * high][lane % 4 * 2]) =
        make_float2(acc[2 * high], acc[2 * high + 1]);
  __syncthreads();
  const int row = threadIdx.x / kDecodeRanks;
  const int rank = threadIdx.x % kDecodeRanks;
  const int rows = cursor.at.found.group->rows;
  if (first + row >= rows) return;
  float sum = sums[0][row][rank];
  const int columns = params.in - cursor.unit.split * kLoraSplit;
#pragma unroll
  for (int chain = 1; chain < kDecodeWarps; ++chain)
    if (chain * kLoraChain < columns) sum += sums[chain][row][rank];
  const int64_t at =
      int64_t{cursor.unit.split * cursor.at.tiles + cursor.unit.tile} * rows + first + row;
  params.scratch[cursor.at.found.scratch + at * kLoraTile + cursor.unit.half * kDecodeRanks +
                 rank] = sum;
}

/// Brings the same operator's part of the tables for the next layer into L2, a line a thread.
__device__ void PrefetchTables(const LoraParams& params, const LoraUnits& units) {
  constexpr int kLines = 4;
  const int projections = ProjectionsOf(params.op);
  const int number = static_cast<int>(blockIdx.x * kDecodeThreads + threadIdx.x);
  const int entry = number / kLines;
  if (params.layer + 1 >= params.layers || entry >= kMaxLoraGroups * projections) return;
  const LoraGroup& group = units.groups[entry / projections];
  if (group.table == 0) return;
  const int index = (params.layer + 1) * kLoraProjections + FirstProjectionOf(params.op) +
                    entry % projections;
  const uint64_t line =
      number % kLines == 0
          ? group.table + index * sizeof(LoraTableModule)
          : group.table + TilesOffset(params) +
                (int64_t{index} * group.table_tiles + (number % kLines - 1) * 8) *
                    sizeof(LoraTableTile);
  if ((number % kLines - 1) * 8 < group.table_tiles)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
}

__global__ void __launch_bounds__(kDecodeThreads, 4)
    LoraDecodeShrink(const __grid_constant__ LoraParams params) {
  __shared__ LoraUnits units;
  __shared__ __align__(16) ChainSums sums[2];
  extern __shared__ __align__(128) std::byte memory[];
  ReadUnits(params, LoraWork::kDecodeShrink, units);
  const WarpRing ring = RingOfWarp(memory);
  ShrinkCursor cursor;
  cursor.at = ShareOfBlock(params, units);
  cursor.unit = UnitOf(cursor.at);
  ShrinkCursor ahead = cursor;
  for (int stage = 0; stage < kRingStages - 1; ++stage) {
    if (ahead.at.number < ahead.at.end) {
      CopyWeights(params, ahead, ring, stage);
      Advance(params, units, ahead);
    }
    CommitCopies();
  }
  PrefetchTables(params, units);
  WaitForKernelBefore();
  LetNextKernelStart();
  const int lane_row = threadIdx.x % kWarp / 4;
  RowChain chain;
  bool fresh = false;  // Whether `chain` holds the cursor's group and split.
  int parity = 0;
  int filled = kRingStages - 1;
  for (int stage = 0; cursor.at.number < cursor.at.end; stage = NextStage(stage)) {
    const LoraGroup& group = *cursor.at.found.group;
    const int split = cursor.unit.split;
    if (!fresh)
      LoadRows(params, group.rows, split, RowNumber(params, group, lane_row),
               RowNumber(params, group, lane_row + 8), chain);
    fresh = true;
    StageWasRead();
    if (ahead.at.number < ahead.at.end) {
      CopyWeights(params, ahead, ring, filled);
      Advance(params, units, ahead);
    }
    filled = NextStage(filled);
    CommitCopies();
    WaitForStage();
    for (int first = 0; first < group.rows; first += kRowTile) {
      if (first > 0) {
        LoadRows(params, group.rows - first, split, RowNumber(params, group, first + lane_row),
                 RowNumber(params, group, first + lane_row + 8), chain);
        fresh = false;
      }
      float acc[4] = {};
#pragma unroll
      for (int i = 0; i < kRingCells; ++i)
        Multiply32(acc, chain[i],
                   LoadMatrices(ring.read_from + stage * kStageOfRing + i * kCellBytes));
      StoreSplit(params, cursor, first, acc, sums[parity]);
      parity ^= 1;
    }
    if (Advance(params, units, cursor)) fresh = false;
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
