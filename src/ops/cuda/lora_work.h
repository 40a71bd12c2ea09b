#pragma once

#include <array>
#include <cstdint>

// What the LoRA kernels read from device memory, and the host code that makes it. Nothing here
// needs CUDA.
//
// Two parts, by how long they live. An adapter's table (LoraTableModule, LoraTableTile) says for
// every layer and projection where its tiles lie; it is made once, when the adapter becomes
// resident. A step (LoraStep) says which rows use which adapter, and how the work of each operator
// is numbered and shared out; it holds for all layers, since it names tables, not tiles. So a step
// uploads 100 KB, with prefill 200 (132 multiprocessors), and four bytes a row, whatever the ranks.
// Lists of ready-made items for each layer would be 5 MB for 8 adapters of rank 128 on a model of
// 32 layers.

namespace weft::ops::cuda {

/// As kProjectionCount and kRankTile, which nvcc does not see.
inline constexpr int kLoraProjections = 7;
inline constexpr int kLoraTile = 16;

/// The operators that shrink and expand together, because their projections share an input.
enum class LoraOperator : uint8_t { kQkv, kOutput, kGateUp, kDown };

inline constexpr int kLoraOperators = 4;
inline constexpr int kMaxOperatorProjections = 3;
/// Projections of an operator are neighbours in the enum Projection.
inline constexpr std::array<int, kLoraOperators> kFirstProjection = {0, 3, 4, 6};
inline constexpr std::array<int, kLoraOperators> kOperatorProjections = {3, 1, 2, 1};

/// Most adapters of one step, and the group of rows without any.
inline constexpr int kMaxLoraGroups = 65;
/// An entry is one projection of one group: of the rows that use one adapter.
inline constexpr int kMaxLoraEntries = kMaxLoraGroups * kMaxOperatorProjections;
/// Most rank tiles of a module: rank 512.
inline constexpr int kMaxLoraTiles = 32;

/// x is summed in chains of so many columns, each from its first to its last; eight chains make a
/// split, and the splits are added in order. Every kernel keeps to this, so that a row's sums do
/// not depend on which kernel ran it.
inline constexpr int kLoraChain = 128;
inline constexpr int kLoraSplit = 8 * kLoraChain;

/// A module for few rows is read once ("decode"); for more, it is worked on in tiles of rows
/// ("prefill"). Either gives the same bits. Decode keeps A x of all rows at hand, and the sums of
/// outputs whose ranks do not fit a stage: for more than kRowTile rows they must.
inline constexpr int kRowTile = 16;
inline constexpr int kPassTiles = 8;
inline constexpr int kMostDecodeRows = 2 * kRowTile;
constexpr bool IsDecode(int rows, int tiles) {
  return rows <= kRowTile / 2 || (rows <= kRowTile && tiles <= 2 * kPassTiles) ||
         (rows <= kMostDecodeRows && tiles <= kPassTiles);
}
/// The shapes of work units. Rows and ranks of a prefill shrink, rows and outputs of a prefill
/// expand, float4 of a prefill reduction.
inline constexpr int kPrefillRows = 128;
inline constexpr int kPrefillTiles = 8;
inline constexpr int kPrefillOut = 256;
inline constexpr int kReduceUnit = 1024;
/// Rows and outputs of a unit that only writes zeros.
inline constexpr int kZeroRows = 16;
inline constexpr int kZeroOut = 2048;

/// Outputs of a decode expand's unit: 32 KiB of weights for ranks up to 128. A decode shrink's unit
/// is a rank tile for one split, 32 KiB too.
constexpr int DecodeOut(int tiles) {
  return tiles <= 1 ? 1024 : tiles <= 2 ? 512 : tiles <= 4 ? 256 : 128;
}
constexpr int LoraSplits(int in) { return (in + kLoraSplit - 1) / kLoraSplit; }

/// One module in an adapter's table.
struct LoraTableModule {
  float scaling;
  int16_t tiles;
  int16_t last_width;  ///< Of the last tile; the others are kLoraTile wide.
};

/// Device addresses of one rank tile: A [width, in] and B [out, width], row-major bf16.
struct LoraTableTile {
  uint64_t a;
  uint64_t b;
};

/// One projection of the rows that use one adapter.
struct alignas(16) LoraEntry {
  uint64_t table;   ///< Device address of the adapter's table; 0: no adapter.
  int32_t first;    ///< Its rows are LoraStep's row numbers [first, first + rows).
  int32_t scratch;  ///< Where its sums lie, in kLoraTile floats.
  int32_t rows;
  uint8_t tiles;        ///< Most rank tiles of the projection in any layer.
  uint8_t table_tiles;  ///< Most rank tiles of any module.
  uint8_t index;        ///< Of the operator's projections.
  uint8_t padding[5];
};
static_assert(sizeof(LoraEntry) == 32);

/// The kinds of work of an operator. Each has its own numbering of units, and its own kernel, but
/// that one does both kinds of a decode.
enum class LoraWork : uint8_t {
  kDecodeShrink,
  kDecodeExpand,
  kPrefillShrink,
  kPrefillReduce,
  kPrefillExpand
};
inline constexpr int kLoraWorks = 5;

inline constexpr int kDecodeWorks = 2;

/// Entry e's units of a kind of work are [begin[e], begin[e + 1]); begin[kMaxLoraEntries] is the
/// number of units.
struct LoraOperatorStep {
  LoraEntry entries[kMaxLoraEntries];
  int32_t begin[kLoraWorks][kMaxLoraEntries + 1];
};

/// Most blocks of a kernel.
inline constexpr int kMaxLoraBlocks = 320;
constexpr int LoraBlocks(LoraWork work, int multiprocessors) {
  const int blocks = work == LoraWork::kPrefillReduce ? 2 * multiprocessors : multiprocessors;
  return blocks < kMaxLoraBlocks ? blocks : kMaxLoraBlocks;
}

/// A block's share of a kind of work: `count` neighbouring units, the first of them number `unit`
/// of the `units` of entry `number`, which is copied here. Each block reads its own, since all of
/// them reading the same lines to find out takes longer than the work of a small operator.
struct alignas(16) LoraStart {
  LoraEntry entry;
  int32_t number;
  int32_t unit;
  int32_t units;
  int32_t count;
};
static_assert(sizeof(LoraStart) == 48);

/// A step's work. LoraStepPlan::parts says what of it is uploaded.
struct alignas(16) LoraStep {
  LoraOperatorStep operators[kLoraOperators];
  /// Units of a decode shrink whose sums are there, by operator, the layer's parity and entry.
  /// Written on the device. Zero before the first layer: a layer clears them for the next.
  uint32_t arrived[kLoraOperators][2][kMaxLoraEntries];
  LoraStart decode[kLoraOperators][kDecodeWorks][kMaxLoraBlocks];
  LoraStart prefill[kLoraOperators][kLoraWorks - kDecodeWorks][kMaxLoraBlocks];
};

}  // namespace weft::ops::cuda
