#pragma once

#include <cstdint>

namespace weft::ops::cuda {

/// One launch of attention over a list of work items, as a kernel family takes it. Every pointer is
/// device memory that the step's plan filled (attention_plan.h has the meaning of the arrays).
/// Strides and counts are in elements. Sequences are numbered from 1: entry 0 of `page_begin` is
/// the number of all page indices.
struct AttentionWork {
  const void* queries = nullptr;  ///< bf16 [rows, heads, head_dim]
  const void* keys = nullptr;     ///< bf16: the layer's K in page 0
  const void* values = nullptr;   ///< bf16: the layer's V in page 0
  void* out = nullptr;            ///< bf16 [rows, heads * head_dim]; used when not split
  float* partial = nullptr;       ///< [partial rows, heads, head_dim]; used when split
  float* partial_log2 = nullptr;  ///< [partial rows, heads]: log2 of the sum of exponentials

  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t tokens_per_page = 0;
  int64_t page_stride = 0;
  int32_t page_count = 0;
  float scale = 0.0F;

  int32_t* pages = nullptr;
  int32_t* page_begin = nullptr;
  int32_t* first_row = nullptr;
  int32_t* row_count = nullptr;
  int32_t* kv_length = nullptr;
  int32_t* partial_begin = nullptr;  ///< Not split: the same as first_row.
  int32_t* chunk = nullptr;          ///< [1]
  int32_t* item_sequence = nullptr;
  int32_t* item_tile = nullptr;
  int32_t* item_chunk = nullptr;
  bool* item_valid = nullptr;
  int32_t* counters = nullptr;  ///< [sequences + 1, kv_heads], all zero between launches.

  int32_t items = 0;  ///< Blocks of the grid.
  int32_t tile_rows = 0;
  bool split = false;
  bool wide = false;       ///< Decode: whether a block has a multiprocessor to itself.
  bool overlapped = true;  ///< Decode: launched as overlapped_launch.cuh has it.
  /// A row's result must not depend on the rows that share its tile: tiles of 64 alone.
  bool fixed_order = false;
};

/// Whether the kernel of decode_attention.h takes a model.
constexpr bool DecodeServes(int32_t head_dim, int32_t group) {
  return (head_dim == 64 || head_dim == 128) && group <= 8;
}
/// The most of its narrow blocks that share a multiprocessor.
inline constexpr int32_t kNarrowDecodeBlocks = 3;
/// What of it a GPU's multiprocessor has room for.
struct DecodeRoom {
  int32_t narrow_blocks = kNarrowDecodeBlocks;  ///< At once.
  bool wide = true;                             ///< A block that takes as much as three of those.
};
/// The most parts that it cuts a sequence into.
inline constexpr int32_t kMaxDecodeParts = 1024;

}  // namespace weft::ops::cuda
