#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/strong_id.h"
#include "ops/cuda/attention_work.h"
#include "ops/cuda/step_slot.h"

namespace weft::ops::cuda {

/// What attention of one model looks like.
struct AttentionShape {
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t tokens_per_page = 0;  ///< A multiple of 16.
};

/// The most that one step may bring; buffers are sized for it once.
struct AttentionLimits {
  int32_t max_rows = 0;     ///< Padded rows of a captured graph included.
  int32_t max_pages = 0;    ///< Of all sequences of a step together.
  int32_t max_context = 0;  ///< Tokens of one sequence.
  int32_t multiprocessors = 0;
  DecodeRoom decode_room;
  /// A row's sums run over the same blocks in the same order whatever else is in the step, however
  /// its sequence was cut into steps.
  bool deterministic = false;
};

/// One sequence's rows of a step. Its tokens 0 .. position + rows are in its pages.
struct AttentionSequence {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t position = 0;  ///< Of its first row.
  std::span<const PageIndex> pages;
};

/// One launch over items, and one that merges the items' parts where KV was split.
struct AttentionPass {
  int32_t index = 0;
  bool decode = false;  ///< For the kernel of decode_attention.h, which merges by itself.
  bool wide = false;    ///< Of that, the blocks that have a multiprocessor each.
  int32_t tile_rows = 0;
  bool split = false;
  int32_t first_item = 0;
  int32_t items = 0;  ///< Of the grid: those past the plan's own are marked invalid.
  int32_t first_merge = 0;
  int32_t merges = 0;
  friend bool operator==(const AttentionPass&, const AttentionPass&) = default;
};

/// What the host must know to launch a planned step: the same for all layers.
struct AttentionLaunch {
  std::vector<AttentionPass> passes;

  /// Whether they are a pass of decodes and one of others, which share no partial results.
  bool MayRunBeside() const {
    return passes.size() == 2 && passes.front().decode && !passes.back().decode &&
           !(passes.front().split && passes.back().split);
  }
};

/// Where each array lies in a plan, in bytes from its start. All int32, but item_valid: bytes.
struct AttentionPlanLayout {
  int64_t segments = 0;    ///< The table that step_slot.h describes.
  int64_t page_begin = 0;  ///< [sequences + 1]; entry 0: the number of all page indices.
  int64_t first_row = 0;   ///< [sequences + 1], from 1 on, like the next four.
  int64_t row_count = 0;
  int64_t kv_length = 0;
  int64_t partial_begin = 0;  ///< First partial row (not split: first row of the output).
  int64_t chunk = 0;          ///< [passes]: tokens of KV that one item takes at most.
  int64_t merge_row = 0;      ///< [merges]: row of the output,
  int64_t merge_begin = 0;    ///< the first of its partial rows,
  int64_t merge_count = 0;    ///< and how many follow one another; 0: the row becomes zero.
  int64_t pages = 0;
  int64_t item_sequence = 0;  ///< [items]; items of a pass lie together.
  int64_t item_tile = 0;
  int64_t item_chunk = 0;
  int64_t item_valid = 0;
  int64_t counters = 0;  ///< [sequences + 1, kv_heads], zero.
  int64_t bytes = 0;
};

/// Cuts a step's attention into items: (sequence, tile of queries, chunk of KV), an item for each
/// kv head a block of the GPU. Pure and on the host alone; any thread. Decoding sequences and
/// prefill chunks become passes of their own with tiles that suit them; KV is split where there
/// would be too few items to fill the machine. With `deterministic`, tiles and chunks are constants
/// and only the number of items varies. Planning a step of 256 sequences takes microseconds.
class AttentionPlanner {
 public:
  AttentionPlanner(const AttentionShape& shape, const AttentionLimits& limits);

  /// Bytes of one plan: of each slot on the host, and of its place on the device.
  int64_t plan_bytes() const { return layout_.bytes; }
  /// Rows of partial results that any one pass may need.
  int32_t max_partial_rows() const { return max_partial_rows_; }
  const AttentionPlanLayout& layout() const { return layout_; }
  bool deterministic() const { return limits_.deterministic; }

  /// Fills `plan` (plan_bytes, host) for a step of these sequences, in any order of their rows.
  void Plan(std::span<const AttentionSequence> sequences, std::byte* plan,
            AttentionLaunch* launch) const;

  /// The same for a captured graph that decodes at most `bucket` rows: the launch depends on
  /// `bucket` alone. Rows below `bucket` that no sequence has become zero.
  void PlanDecode(std::span<const AttentionSequence> sequences, int32_t bucket, std::byte* plan,
                  AttentionLaunch* launch) const;

 private:
  struct Filling;

  /// A kernel's blocks: how many run at once, what their parts of KV are multiples of, and how many
  /// share what a multiprocessor reads. An item's cost in tokens is less where they share: a block
  /// reads fewer meanwhile.
  struct Blocks {
    int32_t at_once;
    int32_t granule;
    int32_t sharing;
  };

  int32_t TilesOf(int32_t rows, int32_t tile_rows) const;
  bool OwnDecode(int64_t sequences) const;
  bool WideDecode(int64_t sequences) const;
  Blocks BlocksOf(bool decode, int64_t sequences) const;
  int32_t DecodeItems(int32_t bucket) const;
  int32_t ChooseChunk(std::span<const AttentionSequence> sequences, const Blocks& blocks,
                      int32_t tile_rows, int32_t max_items) const;
  void AddPass(std::span<const AttentionSequence> sequences, bool decode, int32_t tile_rows,
               int32_t chunk, Filling& filling) const;
  void AddSequence(const AttentionSequence& sequence, const AttentionPass& pass, int32_t chunk,
                   Filling& filling) const;
  void PlanDeterministic(std::span<const AttentionSequence> sequences, Filling& filling) const;
  void Finish(const Filling& filling) const;

  const AttentionShape shape_;
  const AttentionLimits limits_;
  const int32_t group_;
  int32_t max_items_ = 0;
  int32_t max_partial_rows_ = 0;
  int32_t max_passes_ = 0;
  int32_t decode_chunks_ = 0;
  AttentionPlanLayout layout_;
};

}  // namespace weft::ops::cuda
