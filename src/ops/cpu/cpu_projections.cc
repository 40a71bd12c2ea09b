#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "ops/cpu/cpu_operators.h"
#include "ops/cpu/row_blocks.h"

namespace weft::ops::cpu {
namespace {

/// Panels that a task takes of a matrix: small enough to share 576 columns among threads.
constexpr int32_t kTaskPanels = 2;

/// With many rows, k is cut so that a block of rows and a few panels stay in L2. Partial sums pass
/// through memory as floats, so the cut changes no bit.
constexpr int32_t kLongSum = 2048;
constexpr int32_t kSumBlock = 1024;
constexpr int32_t kManyRows = 24;

/// With few rows a product is cut where the adapters' tiles for the same columns are fetched, a few
/// lines at a time: all at once they would hold up the weights.
constexpr int32_t kMostPieces = 8;
constexpr int32_t kPieceGranule = 32;
static_assert(kSumBlock % kWeightDepth == 0 && kPieceGranule % kWeightDepth == 0);

const PackedMatrix& Packed(const Matrix& matrix) {
  return static_cast<const PackedMatrix&>(matrix);
}

/// A head of q (0), k (1) or v (2).
struct HeadSource {
  size_t which = 0;
  int32_t head = 0;
};

}  // namespace

template <typename Start, typename Body>
void CpuOperators::ForTiles(int32_t groups, Start start, Body body) {
  const RowBlocks blocks(rows_);
  const int32_t tasks = blocks.count * groups;
  read_ahead_.BeginProduct(
      [&](int thread) { return start(team_.RangeBegin(tasks, thread) % groups); });
  team_.ParallelForRanges(tasks, [&](int32_t task, int thread) {
    const int32_t block = task / groups;
    const bool last = task + 1 == team_.RangeBegin(tasks, thread + 1);
    const std::byte* next = last ? read_ahead_.Next(thread) : start((task + 1) % groups);
    auto* tile = reinterpret_cast<float*>(scratch_ + thread * scratch_bytes_);
    body(blocks.First(block), blocks.Rows(block), task % groups, tile, next);
  });
}

template <typename Before>
void CpuOperators::MultiplyTile(const Tile& tile, int32_t block, Before before) {
  const int32_t in = tile.weight->in();
  WeightGemmArgs args;
  args.a_stride = h_stride_;
  args.panels = tile.weight->Panel(tile.first_panel);
  args.panel_bytes = tile.weight->panel_bytes();
  args.panel_count = tile.panels;
  args.in = in;
  args.c = tile.c;
  args.c_stride = tile.c_stride;
  args.rows = tile.rows;
  args.next = tile.next;
  for (int32_t k = 0; k < in; k += block) {
    before(k / block);
    args.a = HRow(tile.first_row) + k * SizeOf(options_.dtype);
    args.first_k = k;
    args.k = std::min(block, in - k);
    args.accumulate = k > 0;
    kernels_.weight_gemm(args);
  }
}

void CpuOperators::ComputeTile(const Tile& tile) {
  const AdapterRuns::Span runs = adapters_.RunsAmong(tile.first_row, tile.rows);
  const int32_t in = tile.weight->in();
  if (runs.size() == 0 || tile.rows >= kManyRows) {
    const bool cut = tile.rows >= kManyRows && in > kLongSum;
    adapters_.PrefetchExpand(tile.index, runs, tile.first_panel, tile.panels);
    MultiplyTile(tile, cut ? kSumBlock : in, [](int32_t) {});
  } else {
    const auto pieces = std::min<int32_t>(kMostPieces, static_cast<int32_t>(runs.size()));
    const int32_t block = (in / pieces + kPieceGranule - 1) / kPieceGranule * kPieceGranule;
    const auto blocks = static_cast<size_t>((in + block - 1) / block);
    for (int32_t done = 0; done < tile.panels; done += kTaskPanels) {
      Tile part = tile;
      part.first_panel += done;
      part.panels = std::min(kTaskPanels, tile.panels - done);
      part.c += done * kPanelColumns;
      if (done + part.panels < tile.panels)
        part.next = tile.weight->Panel(part.first_panel + part.panels);
      MultiplyTile(part, block, [&](int32_t piece) {
        const auto at = static_cast<size_t>(piece);
        const AdapterRuns::Span some = {runs.first + runs.size() * at / blocks,
                                        runs.first + runs.size() * (at + 1) / blocks};
        adapters_.PrefetchExpand(tile.index, some, part.first_panel, part.panels);
      });
    }
  }
  adapters_.Expand(tile.index, tile.first_row, tile.rows, tile.first_panel, tile.panels, tile.c,
                   tile.c_stride);
}

void CpuOperators::StoreHead(const HeadArgs& head, int32_t row, LayerIndex layer, int32_t kv_head,
                             bool v) {
  const RowTarget& target = targets_[static_cast<size_t>(row)];
  std::byte* group =
      target.page + HeadOffset(layer, kv_head, v) + target.group * options_.kv.group_bytes();
  (v ? kernels_.store_v : kernels_.store_k)(head.row, config_.head_dim, group, target.token);
}

void CpuOperators::ProjectQkv(LayerIndex layer, const AttentionWeights& weights) {
  constexpr std::array kProjections = {Projection::kQ, Projection::kK, Projection::kV};
  adapters_.Shrink(layer, kProjections, h_, h_stride_, config_.hidden, team_, read_ahead_);
  const int32_t head_dim = config_.head_dim;
  const int32_t panels = head_dim / kPanelColumns;
  const int32_t group = config_.heads / config_.kv_heads;
  const std::array matrices = {weights.q.get(), weights.k.get(), weights.v.get()};
  const std::array biases = {&weights.q_bias, &weights.k_bias, &weights.v_bias};
  const std::array norms = {&weights.q_norm, &weights.k_norm};
  const auto source = [&](int32_t number) -> HeadSource {
    if (number < config_.heads) return {0, number};
    const int32_t kv = number - config_.heads;
    return kv < config_.kv_heads ? HeadSource{1, kv} : HeadSource{2, kv - config_.kv_heads};
  };
  const auto start = [&](int32_t number) {
    const auto [which, head] = source(number);
    return Packed(*matrices[which]).Panel(head * panels);
  };
  ForTiles(config_.heads + 2 * config_.kv_heads, start,
           [&](int32_t first, int32_t rows, int32_t number, float* tile, const std::byte* next) {
             const auto [which, head] = source(number);
             const bool is_q = which == 0;
             const bool is_v = which == 2;
             ComputeTile({&Packed(*matrices[which]), static_cast<int32_t>(which), first, rows,
                          head * panels, panels, tile, head_dim, next});
             HeadArgs args;
             args.head_dim = head_dim;
             args.epsilon = config_.rms_epsilon;
             if (!biases[which]->empty()) args.bias = biases[which]->data() + head * head_dim;
             if (!is_v && !norms[which]->empty()) args.norm = norms[which]->data();
             for (int32_t r = 0; r < rows; ++r) {
               const int32_t row = first + r;
               args.row = tile + int64_t{r} * head_dim;
               if (!is_v && weights.rope) args.rope = rope_ + int64_t{row} * head_dim;
               kernels_.finish_head(args);
               if (is_q) {
                 const int64_t slot =
                     (int64_t{head / group} * options_.max_rows + row) * group + head % group;
                 kernels_.store_row(args.row, head_dim,
                                    queries_ + slot * head_dim * SizeOf(options_.dtype));
               } else {
                 StoreHead(args, row, layer, head, is_v);
               }
             }
           });
}

AttentionArgs CpuOperators::AttentionTask(LayerIndex layer, int32_t number, int thread) {
  const int32_t group = config_.heads / config_.kv_heads;
  const Bytes element = SizeOf(options_.dtype);
  const int32_t task = attention_order_[static_cast<size_t>(number)];
  const AttentionRows& block = attention_[static_cast<size_t>(task / config_.kv_heads)];
  const int32_t head = task % config_.kv_heads;
  const SequenceRows& sequence = step_.sequences[static_cast<size_t>(block.sequence)];
  const int32_t row = sequence.first_row + block.first;
  AttentionArgs args;
  args.queries =
      queries_ + (int64_t{head} * options_.max_rows + row) * group * config_.head_dim * element;
  args.rows = block.rows;
  args.group = group;
  args.head_dim = config_.head_dim;
  args.position = sequence.position + block.first;
  args.tokens = sequence.position + sequence.rows;
  args.pages = pages_.data() + first_page_[static_cast<size_t>(block.sequence)];
  args.groups_per_page = options_.kv.tokens_per_page / kKvGroup;
  args.group_bytes = options_.kv.group_bytes();
  args.k_offset = HeadOffset(layer, head, false);
  args.v_offset = HeadOffset(layer, head, true);
  args.scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
  args.out = HRow(row) + int64_t{head} * group * config_.head_dim * element;
  args.out_stride = h_stride_;
  args.scratch = scratch_ + thread * scratch_bytes_;
  return args;
}

void CpuOperators::Attend(LayerIndex layer) {
  const auto tasks = static_cast<int32_t>(attention_order_.size());
  team_.ParallelForRanges(tasks, [&](int32_t number, int thread) {
    const int32_t begin = team_.RangeBegin(tasks, thread);
    const int32_t end = team_.RangeBegin(tasks, thread + 1);
    AttentionArgs args = AttentionTask(layer, number, thread);
    AttentionArgs next;
    if (number >= begin && number + 1 < end) {
      next = AttentionTask(layer, number + 1, thread);
      args.next = &next;
    }
    args.fetched = number > begin && number < end;
    kernels_.attend(args);
  });
}

void CpuOperators::ProjectIntoResidual(LayerIndex layer, Projection projection,
                                       const Matrix& weight, std::span<const float> bias) {
  const PackedMatrix& matrix = Packed(weight);
  adapters_.Shrink(layer, {&projection, 1}, h_, h_stride_, matrix.in(), team_, read_ahead_);
  const int32_t panels = matrix.panels();
  ForTiles((panels + kTaskPanels - 1) / kTaskPanels,
           [&](int32_t number) { return matrix.Panel(number * kTaskPanels); },
           [&](int32_t first, int32_t rows, int32_t number, float* tile, const std::byte* next) {
             const int32_t panel = number * kTaskPanels;
             const int32_t count = std::min(kTaskPanels, panels - panel);
             const int32_t column = panel * kPanelColumns;
             constexpr int64_t kStride = kTaskPanels * kPanelColumns;
             // The other threads wrote these lines last: bring them in while the product runs.
             for (int32_t r = 0; r < rows; ++r)
               for (int32_t p = 0; p < count; ++p)
                 __builtin_prefetch(XRow(first + r) + column + p * kPanelColumns, 1, 2);
             ComputeTile({&matrix, 0, first, rows, panel, count, tile, kStride, next});
             for (int32_t r = 0; r < rows; ++r)
               kernels_.add_row(tile + r * kStride, bias.empty() ? nullptr : bias.data() + column,
                                count * kPanelColumns, XRow(first + r) + column);
           });
}

void CpuOperators::ProjectOutput(LayerIndex layer, const AttentionWeights& weights) {
  ProjectIntoResidual(layer, Projection::kO, *weights.output, weights.output_bias);
}

void CpuOperators::ProjectGateUp(LayerIndex layer, const MlpWeights& weights) {
  constexpr std::array kProjections = {Projection::kGate, Projection::kUp};
  adapters_.Shrink(layer, kProjections, h_, h_stride_, config_.hidden, team_, read_ahead_);
  const PackedMatrix& gate = Packed(*weights.gate);
  const PackedMatrix& up_weight = Packed(*weights.up);
  const int32_t panels = gate.panels();
  ForTiles(
      (panels + kTaskPanels - 1) / kTaskPanels,
      [&](int32_t number) { return gate.Panel(number * kTaskPanels); },
      [&](int32_t first, int32_t rows, int32_t number, float* tile, const std::byte* next) {
        const int32_t panel = number * kTaskPanels;
        const int32_t count = std::min(kTaskPanels, panels - panel);
        constexpr int64_t kStride = 2 * kTaskPanels * kPanelColumns;
        float* up = tile + kTaskPanels * kPanelColumns;
        ComputeTile({&gate, 0, first, rows, panel, count, tile, kStride, up_weight.Panel(panel)});
        ComputeTile({&up_weight, 1, first, rows, panel, count, up, kStride, next});
        for (int32_t r = 0; r < rows; ++r)
          kernels_.silu_multiply(
              tile + r * kStride, up + r * kStride, count * kPanelColumns,
              next_h_ + ((first + r) * h_stride_ + panel * kPanelColumns) * SizeOf(options_.dtype));
      });
  std::swap(h_, next_h_);
}

void CpuOperators::ProjectDown(LayerIndex layer, const MlpWeights& weights) {
  ProjectIntoResidual(layer, Projection::kDown, *weights.down, {});
}

}  // namespace weft::ops::cpu
