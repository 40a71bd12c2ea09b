#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "ops/cpu/adapter_runs.h"
#include "ops/cpu/cpu_tile_packer.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/packed_matrix.h"
#include "ops/cpu/read_ahead.h"
#include "ops/cpu/sampler.h"
#include "ops/cpu/thread_team.h"
#include "ops/cpu/weight_memory.h"
#include "ops/operators.h"

namespace weft::ops::cpu {

/// The operators on the machine's processors: a thread team, and kernels for the best instruction
/// set there is. Activations: x in float, h and queries in elements.
class CpuOperators final : public Operators {
 public:
  static Result<std::unique_ptr<Operators>> Create(device::Device& device,
                                                   const ModelConfig& config,
                                                   const OperatorsOptions& options);

  const TilePacker& tile_packer() const override { return packer_; }
  Bytes workspace_bytes() const override;
  Result<std::unique_ptr<Matrix>> CreateMatrix(int32_t out, int32_t in) override;
  Bytes MatrixBytes(int32_t out, int32_t in) const override;
  void BindPages(std::byte* arena, int32_t page_count) override;
  void BeginStep(const StepRows& step) override;
  void Embed(const Matrix& table) override;
  void RmsNorm(std::span<const float> weight) override;
  void ProjectQkv(LayerIndex layer, const AttentionWeights& weights) override;
  void Attend(LayerIndex layer) override;
  void ProjectOutput(LayerIndex layer, const AttentionWeights& weights) override;
  void ProjectGateUp(LayerIndex layer, const MlpWeights& weights) override;
  void ProjectDown(LayerIndex layer, const MlpWeights& weights) override;
  void Logits(std::span<const int32_t> rows, std::span<const float> norm,
              const Matrix& head) override;
  void Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) override;
  /// Every operator is done when it returns.
  void FinishStep() override {}

 private:
  /// Where a row's K and V go.
  struct RowTarget {
    std::byte* page = nullptr;
    int32_t group = 0;  ///< Of the page.
    int32_t token = 0;  ///< Of the group.
  };
  /// Neighbouring rows of a sequence that one attention task takes.
  struct AttentionRows {
    int32_t sequence = 0;
    int32_t first = 0;  ///< Counted in the sequence's rows.
    int32_t rows = 0;
  };

  CpuOperators(device::Device& device, const ModelConfig& config, const OperatorsOptions& options,
               Isa isa);
  Status Allocate();

  void PlanPages();
  void PlanAttention();
  std::byte* HRow(int32_t row) { return h_ + row * h_stride_ * SizeOf(options_.dtype); }
  float* XRow(int32_t row) { return x_ + int64_t{row} * config_.hidden; }

  /// c [rows, 16 * panels] = rows of h * panels of `weight`, plus the adapters' part as projection
  /// `index` of the operator at hand.
  struct Tile {
    const PackedMatrix* weight = nullptr;
    int32_t index = 0;
    int32_t first_row = 0;
    int32_t rows = 0;
    int32_t first_panel = 0;
    int32_t panels = 0;
    float* c = nullptr;
    int64_t c_stride = 0;
    const std::byte* next = nullptr;  ///< What the thread reads after these panels.
  };
  void ComputeTile(const Tile& tile);
  /// The base product alone, `block` of k at a time; before(i) is called before block i.
  template <typename Before>
  void MultiplyTile(const Tile& tile, int32_t block, Before before);
  /// Calls body(first row, rows, group, tile, next) for all row blocks and column groups; `tile` is
  /// the thread's own room for kRowBlock rows of results, `next` the weights that it reads after
  /// this group's. start(group): where a group's weights lie.
  template <typename Start, typename Body>
  void ForTiles(int32_t groups, Start start, Body body);
  /// x += weight * h + bias + adapters.
  void ProjectIntoResidual(LayerIndex layer, Projection projection, const Matrix& weight,
                           std::span<const float> bias);
  /// From a page's start to K (V: `v`) of a head of a layer. A head's K and V lie side by side, so
  /// that attention touches as few of the system's pages as can be.
  Bytes HeadOffset(LayerIndex layer, int32_t head, bool v) const {
    const Bytes groups = options_.kv.tokens_per_page / kKvGroup;
    return ((Bytes{layer.value()} * config_.kv_heads + head) * 2 + (v ? 1 : 0)) * groups *
           options_.kv.group_bytes();
  }
  /// The attention of task `number`, counted in attention_order_.
  AttentionArgs AttentionTask(LayerIndex layer, int32_t number, int thread);
  void StoreHead(const HeadArgs& head, int32_t row, LayerIndex layer, int32_t kv_head, bool v);

  device::Device& device_;
  const ModelConfig config_;
  const OperatorsOptions options_;
  const Kernels& kernels_;
  const CpuTilePacker packer_;
  WeightMemory weight_memory_;
  ThreadTeam team_;
  AdapterRuns adapters_;
  ReadAhead read_ahead_;
  std::unique_ptr<Sampler> sampler_;
  const std::vector<float> rope_frequencies_;

  device::Buffer workspace_;
  float* x_ = nullptr;           ///< [max_rows][hidden]
  std::byte* h_ = nullptr;       ///< [max_rows][h_stride_]
  std::byte* next_h_ = nullptr;  ///< What ProjectGateUp writes while it reads h.
  int64_t h_stride_ = 0;
  std::byte* queries_ = nullptr;  ///< [kv_heads][max_rows][heads / kv_heads][head_dim]
  float* rope_ = nullptr;         ///< [max_rows][head_dim]: cos, sin
  float* logits_ = nullptr;       ///< [max_logits_rows][logits_stride_]
  int64_t logits_stride_ = 0;
  std::byte* scratch_ = nullptr;  ///< [threads][scratch_bytes_]
  int64_t scratch_bytes_ = 0;

  std::byte* arena_ = nullptr;
  int32_t page_count_ = 0;

  StepRows step_;
  int32_t rows_ = 0;
  std::vector<const std::byte*> pages_;   ///< Every sequence's, one after the other.
  std::vector<size_t> first_page_;        ///< [sequence]: where its pages start.
  std::vector<RowTarget> targets_;        ///< [row]
  std::vector<AttentionRows> attention_;  ///< The dearest first.
  /// Numbers of (rows, kv head), so that the threads' ranges cost about the same.
  std::vector<int32_t> attention_order_;
};

}  // namespace weft::ops::cpu
