#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

constexpr LoraWork kWork = LoraWork::kDecodeShrink;

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

__device__ ShrinkUnit UnitOf(const LoraCursor& cursor) {
  const int tile = cursor.found.unit / kHalves;
  const int tiles = cursor.found.entry.tiles;
  return {cursor.found.unit % kHalves, tile % tiles, tile / tiles};
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
  LoraCursor at;
  ShrinkUnit unit;
};

/// Returns whether x is another's: another entry or split.
__device__ bool Advance(const LoraParams& params, ShrinkCursor& cursor) {
  const int split = cursor.unit.split;
  if (Advance<kWork>(params, cursor.at)) {
    if (cursor.at.left > 0) cursor.unit = UnitOf(cursor.at);
    return true;
  }
  Step(cursor.at.found.entry.tiles, cursor.unit);
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
  const auto* a =
      reinterpret_cast<const __nv_bfloat16*>(__ldg(&cursor.at.found.tiles[cursor.unit.tile].a));
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

/// This lane's rows of 16 of an entry: their numbers, and whether they exist.
struct LaneRows {
  int low;
  int high;
  bool has_low;
  bool has_high;
  bool any_high;  ///< Any of the warp's.
};

__device__ LaneRows FindRows(const LoraParams& params, const LoraEntry& entry, int first) {
  const int row = first + static_cast<int>(threadIdx.x) % kWarp / 4;
  return {RowNumber(params, entry, row), RowNumber(params, entry, row + 8), row < entry.rows,
          row + 8 < entry.rows, first + 8 < entry.rows};
}

/// kWhole: the chain has all its columns; else what is missing is zero.
template <bool kHigh, bool kWhole>
__device__ void LoadChain(const LoraParams& params, const LaneRows& rows, int k, RowChain& chain) {
  const int columns = params.in - k;
  const __nv_bfloat16* low = params.x + rows.low * params.x_stride + k;
  const __nv_bfloat16* high = params.x + rows.high * params.x_stride + k;
#pragma unroll
  for (int i = 0; i < kRingCells; ++i)
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const int at = i * 32 + step * 16;
      const bool first = kWhole || at < columns;
      const bool second = kWhole || at + 8 < columns;
      uint4& a = chain[i][step];
      a.x = LoadPair(low + at, rows.has_low && first);
      a.z = LoadPair(low + at + 8, rows.has_low && second);
      a.y = kHigh ? LoadPair(high + at, rows.has_high && first) : 0;
      a.w = kHigh ? LoadPair(high + at + 8, rows.has_high && second) : 0;
    }
}

__device__ void LoadRows(const LoraParams& params, const LaneRows& rows, int split,
                         RowChain& chain) {
  const int first = ChainColumn(split);
  const int k = first + static_cast<int>(threadIdx.x) % 4 * 2;
  if (first + kLoraChain > params.in)
    LoadChain<true, false>(params, rows, k, chain);
  else if (rows.any_high)
    LoadChain<true, true>(params, rows, k, chain);
  else
    LoadChain<false, true>(params, rows, k, chain);
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
  const int rows = cursor.at.found.entry.rows;
  if (first + row >= rows) return;
  float sum = sums[0][row][rank];
  const int columns = params.in - cursor.unit.split * kLoraSplit;
#pragma unroll
  for (int chain = 1; chain < kDecodeWarps; ++chain)
    if (chain * kLoraChain < columns) sum += sums[chain][row][rank];
  const int64_t at =
      int64_t{cursor.unit.split * cursor.at.found.entry.tiles + cursor.unit.tile} * rows + first +
      row;
  params.scratch[ScratchOf(cursor.at.found) + at * kLoraTile + cursor.unit.half * kDecodeRanks +
                 rank] = sum;
}

/// Brings this block's first entry of the next layer's tables into L2, a line a thread.
__device__ void PrefetchTable(const LoraParams& params, const LoraEntry& entry) {
  constexpr int kTilesOfLine = 128 / sizeof(LoraTableTile);
  const int line = static_cast<int>(threadIdx.x) - 1;
  if (params.layer + 1 >= params.layers || line * kTilesOfLine >= entry.table_tiles) return;
  const int index =
      (params.layer + 1) * kLoraProjections + FirstProjectionOf(params.op) + entry.index;
  const uint64_t at = line < 0 ? entry.table + index * sizeof(LoraTableModule)
                               : entry.table + TilesOffset(params) +
                                     (int64_t{index} * entry.table_tiles + line * kTilesOfLine) *
                                         sizeof(LoraTableTile);
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

__global__ void __launch_bounds__(kDecodeThreads, 4)
    LoraDecodeShrink(const __grid_constant__ LoraParams params) {
  __shared__ __align__(16) ChainSums sums[2];
  extern __shared__ __align__(128) std::byte memory[];
  const WarpRing ring = RingOfWarp(memory);
  ShrinkCursor cursor;
  cursor.at = ReadStart<kWork>(params);
  if (cursor.at.left == 0) {
    WaitForKernelBefore();  // Whoever waits for this kernel relies on all before it.
    return;
  }
  cursor.unit = UnitOf(cursor.at);
  ShrinkCursor ahead = cursor;
  for (int stage = 0; stage < kRingStages - 1; ++stage) {
    if (ahead.at.left > 0) {
      CopyWeights(params, ahead, ring, stage);
      Advance(params, ahead);
    }
    CommitCopies();
  }
  LaneRows rows = FindRows(params, cursor.at.found.entry, 0);
  PrefetchTable(params, cursor.at.found.entry);
  WaitForKernelBefore();
  LetNextKernelStart();
  RowChain chain;
  LoadRows(params, rows, cursor.unit.split, chain);
  int parity = 0;
  int filled = kRingStages - 1;
  for (int stage = 0;; stage = NextStage(stage)) {
    StageWasRead();
    if (ahead.at.left > 0) {
      CopyWeights(params, ahead, ring, filled);
      Advance(params, ahead);
    }
    filled = NextStage(filled);
    CommitCopies();
    WaitForStage();
    bool fresh = true;  // Whether `chain` holds the cursor's first rows and split.
    for (int first = 0; first < cursor.at.found.entry.rows; first += kRowTile) {
      if (first > 0) {
        LoadRows(params, FindRows(params, cursor.at.found.entry, first), cursor.unit.split, chain);
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
    if (Advance(params, cursor)) fresh = false;
    if (cursor.at.left == 0) break;
    if (fresh) continue;
    rows = FindRows(params, cursor.at.found.entry, 0);
    LoadRows(params, rows, cursor.unit.split, chain);
  }
}

}  // namespace

cudaError_t PrepareDecodeShrink() {
  return cudaFuncSetAttribute(LoraDecodeShrink, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kRingBytes);
}

void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream) {
  LaunchLora(LoraDecodeShrink, params, kWork, kDecodeThreads, kRingBytes, stream);
}

}  // namespace weft::ops::cuda
