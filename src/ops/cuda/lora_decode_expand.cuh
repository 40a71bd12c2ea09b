#pragma once

#include "ops/cuda/lora_decode.cuh"

// B (A x) of few rows: a warp has an eighth of a stage's outputs and all its ranks.

namespace weft::ops::cuda {

/// Splits whose sums are on their way at once.
constexpr int kSplitsAtOnce = 8;

/// Adds the splits in order, scales, rounds: A x as the product with B takes it.
__device__ inline void FinishSums(const LoraParams& params, const StageWork& work,
                                  __nv_bfloat16* sums) {
  const int splits = LoraSplits(params.in);
  const int rows = work.rows;
  const int stride = SumStride(work.entry_tiles);
  const int split_stride = work.entry_tiles * rows * (kLoraTile / 2);
  const int pairs = work.tiles * rows * (kLoraTile / 2);
  const float scaling = work.scaling;
  const auto* scratch =
      reinterpret_cast<const float2*>(params.scratch + int64_t{work.scratch} * kLoraTile);
  for (int i = static_cast<int>(threadIdx.x); i < pairs; i += kConsumers) {
    const float2* at = scratch + i;
    float2 sum = __ldcg(at);
    for (int split = 1; split < splits; split += kSplitsAtOnce) {
      float2 next[kSplitsAtOnce];
#pragma unroll
      for (int j = 0; j < kSplitsAtOnce; ++j)
        if (split + j < splits) next[j] = __ldcg(at += split_stride);
#pragma unroll
      for (int j = 0; j < kSplitsAtOnce; ++j)
        if (split + j < splits) {
          sum.x += next[j].x;
          sum.y += next[j].y;
        }
    }
    const int pair = i % (kLoraTile / 2);
    const int row = i / (kLoraTile / 2) % rows;
    const int tile = i / (kLoraTile / 2) / rows;
    *reinterpret_cast<uint32_t*>(sums + row * stride + tile * kLoraTile + pair * 2) =
        PackBf16(sum.x * scaling, sum.y * scaling);
  }
}

/// Until all sums of the entry are there, then brings them here. Synchronises the consumers.
__device__ inline void AwaitSums(const LoraParams& params, const StageWork& work,
                                 __nv_bfloat16* sums) {
  if (threadIdx.x == 0) {
    const uint32_t units = static_cast<uint32_t>(LoraSplits(params.in) * work.entry_tiles);
    const uint32_t* arrived = ArrivedUnits(params, params.layer) + work.part.number;
    while (ReadArrived(arrived) < units) {
    }
  }
  SynchroniseConsumers();  // Nobody reads the sums before any more, either.
  FinishSums(params, work, sums);
  SynchroniseConsumers();
}

/// A warp's part of a stage: so many blocks of 16 outputs by 16 ranks, whatever the shape.
constexpr int kCells = kPassTiles;
static_assert(DecodeOut(kPassTiles) * kPassTiles == kConsumerWarps * kCells * 16);
constexpr int OutsOfWarp(int tiles) { return DecodeOut(tiles) / kConsumerWarps; }

/// Products of 16 outputs.
using OutSums = float[2][4];

/// What the stages of an entry need, for 16 of its rows.
struct ExpandRows {
  int number = -1;     ///< The entry's; none yet.
  int shape = 0;       ///< DecodeOut of its tiles.
  bool plain = false;  ///< One tile of rows, and as many rank tiles as its stages have room for.
  uint32_t sums = 0;   ///< This lane's address for LoadMatrices of the first tile.
  int out = 0;         ///< Of the projection.
  __nv_bfloat16* low = nullptr;  ///< This lane's outputs of this warp's first; null: no such row.
  __nv_bfloat16* high = nullptr;
};

__device__ inline ExpandRows FindExpandRows(const LoraParams& params, const StageWork& work,
                                            int first, const __nv_bfloat16* sums) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int count = work.rows;
  const int tiles = work.entry_tiles;
  const LoraDelta& delta = params.delta[work.index];
  ExpandRows rows;
  rows.number = work.part.number;
  rows.shape = DecodeOut(tiles);
  rows.plain = count <= kRowTile && tiles == work.tiles &&
               tiles == kCells * 16 / OutsOfWarp(tiles) && work.last_width == kLoraTile;
  rows.sums = SharedAddress(sums) +
              (min(first + lane % 16, count - 1) * SumStride(tiles) + lane / 16 * kVector) * 2;
  rows.out = delta.out;
  const int row = first + lane / 4;
  const int out = thread / kWarp * OutsOfWarp(tiles) + lane % 4 * 2;
  if (row < count) rows.low = delta.y + work.numbers[row] * delta.stride + out;
  if (row + 8 < count) rows.high = delta.y + work.numbers[row + 8] * delta.stride + out;
  return rows;
}

/// This lane's address for LoadMatrices of the first of the warp's cells.
template <int kTiles>
__device__ inline uint32_t FirstCell(uint32_t weights, int piece_bytes) {
  const int thread = static_cast<int>(threadIdx.x);
  const int line = thread / kWarp * OutsOfWarp(kTiles) + thread % kWarp / 16 * 8 + thread % 8;
  return weights + line * piece_bytes;
}

/// This lane's columns of the 16 outputs from `first`, counted from the warp's, of which `left`
/// exist: a multiple of 8.
__device__ inline void StoreOuts(const ExpandRows& rows, int first, int left, const OutSums& acc) {
#pragma unroll
  for (int column = 0; column < 2; ++column) {
    if (column * 8 >= left) break;
    if (rows.low != nullptr)
      *reinterpret_cast<uint32_t*>(rows.low + first + column * 8) =
          PackBf16(acc[column][0], acc[column][1]);
    if (rows.high != nullptr)
      *reinterpret_cast<uint32_t*>(rows.high + first + column * 8) =
          PackBf16(acc[column][2], acc[column][3]);
  }
}

/// A stage with all its outputs and ranks, of plain rows.
template <int kTiles, class Consumer>
__device__ inline void PlainStage(const ExpandRows& rows, int first_out, Consumer& consumer) {
  constexpr int kOuts = DecodeOut(kTiles);
  const uint32_t from = FirstCell<kTiles>(consumer.weights(), kPieceBytes) +
                        static_cast<int>(threadIdx.x) / 8 % 2 * (kPieceBytes / 2);
  uint4 a[kTiles];
  uint4 b[kCells];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) a[tile] = LoadMatrices(rows.sums + tile * kPieceBytes);
#pragma unroll
  for (int cell = 0; cell < kCells; ++cell)
    b[cell] = LoadMatrices(from + (cell % kTiles * kOuts + cell / kTiles * 16) * kPieceBytes);
  consumer.Release();
#pragma unroll
  for (int block = 0; block < kCells / kTiles; ++block) {
    OutSums acc = {};
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4& cell = b[block * kTiles + tile];
      Multiply(acc[0], a[tile].x, a[tile].y, a[tile].z, a[tile].w, cell.x, cell.y);
      Multiply(acc[1], a[tile].x, a[tile].y, a[tile].z, a[tile].w, cell.z, cell.w);
    }
    StoreOuts(rows, first_out + block * 16, 16, acc);
  }
}

/// Any stage, of 16 rows. What is missing is left out: a stage without the tile has what it held
/// before, and a narrow tile no second half. `acc` carries the sums of outputs whose ranks take
/// several stages.
template <int kTiles>
__device__ inline void AnyStage(const StageWork& work, const ExpandRows& rows, uint32_t weights,
                                OutSums& acc) {
  const int pass = work.part.tile;
  const int tiles = min(kTiles, work.tiles - pass);
  const int left =
      rows.out - work.part.first - static_cast<int>(threadIdx.x) / kWarp * OutsOfWarp(kTiles);
  const int half = static_cast<int>(threadIdx.x) / 8 % 2 * (kPieceBytes / 2);
#pragma unroll 1
  for (int block = 0; block < kCells / kTiles && block * 16 < left; ++block) {
    if (pass == 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[i / 4][i % 4] = 0.0F;
    }
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      const bool narrow = pass + tile + 1 == work.tiles && work.last_width != kLoraTile;
      const int piece_bytes = narrow ? kPieceBytes / 2 : kPieceBytes;
      const uint4 a = LoadMatrices(rows.sums + (pass + tile) * kPieceBytes);
      uint4 b = LoadMatrices(FirstCell<kTiles>(weights, piece_bytes) +
                             tile * DecodeOut(kTiles) * kPieceBytes + block * 16 * piece_bytes +
                             (narrow ? 0 : half));
      if (narrow) b.y = b.w = 0;
      Multiply(acc[0], a.x, a.y, a.z, a.w, b.x, b.y);
      Multiply(acc[1], a.x, a.y, a.z, a.w, b.z, b.w);
    }
    if (pass + kPassTiles < work.entry_tiles) continue;
    StoreOuts(rows, work.part.first + block * 16, left - block * 16, acc);
  }
}

/// `rows` are the entry's first 16; `carried` goes from a stage to the next of the same outputs.
template <int kTiles, class Consumer>
__device__ inline void ExpandStage(const LoraParams& params, const StageWork& work,
                                   const StagePart& part, Consumer& consumer,
                                   const __nv_bfloat16* sums, const ExpandRows& rows,
                                   OutSums& carried) {
  if (rows.plain && part.first + DecodeOut(kTiles) <= rows.out) {
    PlainStage<kTiles>(rows, part.first, consumer);
    return;
  }
  AnyStage<kTiles>(work, rows, consumer.weights(), carried);
  if (work.rows > kRowTile) {
    OutSums acc;
    AnyStage<kTiles>(work, FindExpandRows(params, work, kRowTile, sums), consumer.weights(), acc);
  }
  consumer.Release();
}

/// Rows of the base model, and modules that an adapter leaves alone.
__device__ inline void StoreZeros(const LoraParams& params, const StageWork& work) {
  const LoraDelta& delta = params.delta[work.index];
  const int first_out = work.part.first;
  const int rows = min(kZeroRows, work.rows - work.first_row);
  const int vectors = min(kZeroOut, delta.out - first_out) / kVector;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < rows; row += kConsumerWarps) {
    __nv_bfloat16* y =
        delta.y + RowNumbers(params)[work.first + work.first_row + row] * delta.stride + first_out;
    for (int i = static_cast<int>(threadIdx.x) % kWarp; i < vectors; i += kWarp)
      reinterpret_cast<uint4*>(y)[i] = make_uint4(0, 0, 0, 0);
  }
}

}  // namespace weft::ops::cuda
