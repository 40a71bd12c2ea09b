#pragma once

#include "ops/cuda/lora_decode.cuh"

// A x of few rows: a warp multiplies one chain of a stage's columns, and the block adds the chains.

namespace weft::ops::cuda {

constexpr int kChainSteps = kLoraChain / 16;

/// This warp's chain of x for 16 rows of an entry and a split, as the tensor cores take it, and
/// what else of the entry its stages need.
struct RowChain {
  uint4 x[kChainSteps];
  int number = -1;  ///< Of the entry that it is of; none yet.
  int split = 0;
  int first = 0;  ///< Row.
  int rows = 0;
  int entry_tiles = 0;
  int tiles = 0;
  int last_width = 0;
  float* sums = nullptr;  ///< Where this thread writes its sum of the split's first tile.
};

__device__ inline int WarpOfConsumer() { return static_cast<int>(threadIdx.x) / kWarp; }

/// Columns of this warp's chain that exist; may be negative.
__device__ inline int ChainColumns(const LoraParams& params, int split) {
  return params.in - split * kLoraSplit - WarpOfConsumer() * kLoraChain;
}

__device__ inline uint32_t LoadPair(const __nv_bfloat16* x, bool valid) {
  return valid ? __ldcg(reinterpret_cast<const uint32_t*>(x)) : 0;
}

/// Rows from `first`; what is missing is zero.
__device__ inline void LoadChain(const LoraParams& params, const StageWork& work,
                                 const StagePart& part, int first, RowChain& chain) {
  chain.number = part.number;
  chain.split = part.first;
  chain.first = first;
  chain.rows = work.rows;
  chain.entry_tiles = work.entry_tiles;
  chain.tiles = work.tiles;
  chain.last_width = work.last_width;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t at =
      int64_t{chain.split * chain.entry_tiles} * chain.rows + first + thread / kLoraTile;
  chain.sums = params.scratch + (work.scratch + at) * kLoraTile + thread % kLoraTile;
  const int lane = thread % kWarp;
  const int columns = ChainColumns(params, chain.split);
  const int k = params.in - columns + lane % 4 * 2;
  const int row = first + lane / 4;
  const bool has_low = row < chain.rows;
  const bool has_high = row + 8 < chain.rows;
  const __nv_bfloat16* low = params.x + (has_low ? work.numbers[row] : 0) * params.x_stride + k;
  const __nv_bfloat16* high =
      params.x + (has_high ? work.numbers[row + 8] : 0) * params.x_stride + k;
#pragma unroll
  for (int i = 0; i < kChainSteps; ++i) {
    const bool front = i * 16 < columns;
    const bool back = i * 16 + 8 < columns;
    chain.x[i] = {
        LoadPair(low + i * 16, has_low && front), LoadPair(high + i * 16, has_high && front),
        LoadPair(low + i * 16 + 8, has_low && back), LoadPair(high + i * 16 + 8, has_high && back)};
  }
}

/// Sums of 16 rows by 8 ranks, twice.
using ShrinkSums = float[2][4];

/// The weights beyond the matrix are whatever the stage held before: they are left out here where
/// they are columns, and their sums later where they are ranks. kWhole: there are none here.
template <bool kWhole>
__device__ inline void MultiplyChain(const RowChain& chain, int columns, uint32_t stage,
                                     ShrinkSums& acc) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const uint32_t from = stage + (lane / 16 * 8 + lane % 8) * kShrinkRow + lane / 8 % 2 * 16 +
                        WarpOfConsumer() * kLoraChain * 2;
  uint4 a[kChainSteps];
#pragma unroll
  for (int i = 0; i < kChainSteps; ++i) a[i] = LoadMatrices(from + i * 32);
#pragma unroll
  for (int i = 0; i < kChainSteps; ++i) {
    if (!kWhole && i * 16 >= columns) a[i].x = a[i].z = 0;
    if (!kWhole && i * 16 + 8 >= columns) a[i].y = a[i].w = 0;
    const uint4& x = chain.x[i];
    Multiply(acc[0], x.x, x.y, x.z, x.w, a[i].x, a[i].y);
    Multiply(acc[1], x.x, x.y, x.z, x.w, a[i].z, a[i].w);
  }
}

/// Adds the warps' chains, in order, and writes the split's sums. Synchronises the consumers.
__device__ inline void StoreSplit(const LoraParams& params, const RowChain& chain, int tile,
                                  const ShrinkSums& acc, ChainSums& chains) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  SynchroniseConsumers();  // Nobody reads the ones before any more.
#pragma unroll
  for (int high = 0; high < 2; ++high) {
    if (high == 1 && chain.first + 8 >= chain.rows) break;
#pragma unroll
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<float2*>(
          &chains[WarpOfConsumer()][lane / 4 + 8 * high][half * 8 + lane % 4 * 2]) =
          make_float2(acc[half][2 * high], acc[half][2 * high + 1]);
  }
  SynchroniseConsumers();
  const int row = static_cast<int>(threadIdx.x) / kLoraTile;
  const int rank = static_cast<int>(threadIdx.x) % kLoraTile;
  if (chain.first + row >= chain.rows) return;
  const int columns = params.in - chain.split * kLoraSplit;
  float sum = chains[0][row][rank];
#pragma unroll
  for (int other = 1; other < kConsumerWarps; ++other)
    if (other * kLoraChain < columns) sum += chains[other][row][rank];
  const int width = tile >= chain.tiles       ? 0
                    : tile + 1 == chain.tiles ? chain.last_width
                                              : kLoraTile;
  chain.sums[tile * chain.rows * kLoraTile] = rank < width ? sum : 0.0F;
}

/// The consumers' share of one stage.
template <class Consumer>
__device__ inline void ShrinkStage(const LoraParams& params, const StageWork& work,
                                   const StagePart& part, Consumer& consumer, RowChain& chain,
                                   ChainSums& chains) {
  const int columns = ChainColumns(params, part.first);
  int first = 0;
  do {
    if (chain.number != part.number || chain.split != part.first || chain.first != first)
      LoadChain(params, work, part, first, chain);
    if (first == 0) consumer.AwaitWeights();
    ShrinkSums acc = {};
    if (columns >= kLoraChain)
      MultiplyChain<true>(chain, columns, consumer.weights(), acc);
    else
      MultiplyChain<false>(chain, columns, consumer.weights(), acc);
    first += kRowTile;
    if (first >= chain.rows) consumer.Release();
    StoreSplit(params, chain, part.tile, acc, chains);
  } while (first < chain.rows);
}

}  // namespace weft::ops::cuda
