#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "ops/cpu/sampler.h"
#include "ops/cuda/adapter_tables.h"
#include "ops/cuda/attention.h"
#include "ops/cuda/attention_plan.h"
#include "ops/cuda/cuda_matrix.h"
#include "ops/cuda/cuda_tile_packer.h"
#include "ops/cuda/decode_graphs.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/lora_step.h"
#include "ops/cuda/sample_plan.h"
#include "ops/cuda/sampler.h"
#include "ops/cuda/side_stream.h"
#include "ops/cuda/step_metadata.h"
#include "ops/cuda/step_results.h"
#include "ops/operators.h"

namespace weft::ops::cuda {

/// The operators on a GPU. Each queues kernels on the stream that this owns and returns, so that a
/// step lies behind the one before; AwaitStep waits. Sample waits only for rows that the GPU's
/// sampler has no room for, and between the pieces of a step. Activations: x and logits in float,
/// h, queries and what projections put out in bf16. A step's rows are padded to a round number of
/// rows, which write to page 0. The layers of decode steps run as CUDA graphs.
class CudaOperators final : public Operators {
 public:
  static Result<std::unique_ptr<Operators>> Create(device::Device& device,
                                                   const ModelConfig& config,
                                                   const OperatorsOptions& options);
  ~CudaOperators() override;

  const TilePacker& tile_packer() const override { return packer_; }
  Bytes workspace_bytes() const override;
  Result<std::unique_ptr<Matrix>> CreateMatrix(int32_t out, int32_t in) override;
  bool CreatesMatricesInOrder() const override { return true; }
  void BindPages(std::byte* arena, int32_t page_count) override;
  std::vector<int32_t> BeginWarmUp() override;
  void EndWarmUp() override { gemm_->EndMeasuring(); }
  int32_t steps_at_once() const override { return StepResults::kStepsAtOnce; }
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
  void FinishStep() override;
  StepTimes AwaitStep() override { return results_.Await(*sample_planner_); }

 private:
  CudaOperators(device::Device& device, const ModelConfig& config, const OperatorsOptions& options);
  Status Allocate();
  Status PrepareKernels();
  void ReserveMetadata();
  Status PrepareSampling();
  void SampleOnDevice(std::span<const SampleRow> samples, std::span<SampledToken> into);
  void SampleOnHost(std::span<const SampleRow> samples, std::span<SampledToken> into);

  /// What kernels are told of the step: a value for each padded row, who adapts which rows, and how
  /// attention is cut into items.
  void WriteRows(const StepRows& step);
  void PlanAdapters(const StepRows& step);
  void PlanAttention(const StepRows& step, bool decode);
  void LaunchRope();
  /// After the last layer: what was recorded runs.
  void EndLayers();

  /// out [rows_, sum of the matrices' out] = h times the matrices side by side, plus what `out`
  /// holds where `add`. Where rows of the step use adapters, also deltas_, of as many elements:
  /// what they add to these projections of h, zero in other rows. Returns deltas_, or null when
  /// nothing is to be added.
  const std::byte* Project(LayerIndex layer, LoraOperator op,
                           std::span<const CudaMatrix* const> matrices, DType out_dtype,
                           std::byte* out, bool add);
  /// The products that a projection takes: one where the matrices lie one after the other.
  std::vector<GemmParams> ProductsOf(std::span<const CudaMatrix* const> matrices, DType out_dtype,
                                     std::byte* out, bool add) const;
  void Launch(std::span<const GemmParams> products);
  LoraParams DeltasOf(LayerIndex layer, LoraOperator op,
                      std::span<const CudaMatrix* const> matrices) const;
  /// x += weight * h + bias; the adapters' part stays in deltas_ until the next norm adds it.
  void ProjectIntoResidual(LayerIndex layer, LoraOperator op, const CudaMatrix& weight,
                           std::span<const float> bias);

  device::Device& device_;
  const ModelConfig config_;
  const OperatorsOptions options_;
  const CudaTilePacker packer_;
  cudaStream_t stream_ = nullptr;
  SideStream side_stream_;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<WeightArena> weight_arena_;
  DeviceVectors vectors_;
  int32_t multiprocessors_ = 0;
  int32_t shared_limit_ = 0;  ///< Bytes of shared memory that a block may ask for.
  std::unique_ptr<AttentionPlanner> attention_planner_;
  std::unique_ptr<PagedAttention> attention_;
  const LoraShape lora_shape_;
  AdapterTables adapter_tables_;
  DecodeGraphs graphs_;
  const std::vector<float> rope_frequencies_;

  device::Buffer workspace_;
  float* x_ = nullptr;            ///< [padded rows, hidden]
  std::byte* h_ = nullptr;        ///< [padded rows, width of what it holds]
  std::byte* wide_ = nullptr;     ///< What q, k, v or gate, up put out, side by side.
  std::byte* deltas_ = nullptr;   ///< What adapters add to a projection, as wide_ lies.
  std::byte* queries_ = nullptr;  ///< [padded rows, heads, head_dim]
  float* rope_ = nullptr;         ///< [padded rows, head_dim]: cos, sin
  float* logits_ = nullptr;       ///< [padded logits rows, logits_stride_]
  int64_t logits_stride_ = 0;
  std::unique_ptr<SamplePlanner> sample_planner_;
  device::Buffer sample_results_;
  device::Buffer sample_scratch_;
  device::Buffer chosen_;       ///< int32 [most_samples_]: tokens of the step that sampled last.
  device::Buffer host_logits_;  ///< As logits_: for what the GPU's sampler has no room.
  int32_t most_samples_ = 0;    ///< Of a step.
  StepResults results_;
  std::unique_ptr<cpu::Sampler> host_sampler_;
  std::byte* attention_scratch_ = nullptr;
  float* lora_scratch_ = nullptr;

  StepMetadata metadata_;
  MetadataSection tokens_;
  MetadataSection positions_;
  MetadataSection slots_;
  MetadataSection logits_rows_;
  MetadataSection attention_plan_;
  MetadataSection sample_plan_;
  MetadataSection lora_step_;
  MetadataSection lora_row_numbers_;

  std::byte* arena_ = nullptr;
  int32_t page_count_ = 0;

  // Of the step:
  int32_t rows_ = 0;                          ///< Padded.
  int32_t h_width_ = 0;                       ///< Elements of a row of h.
  int32_t logits_used_ = 0;                   ///< Entries of logits_rows_.
  int32_t samples_ = 0;                       ///< Sampled so far.
  const std::byte* pending_delta_ = nullptr;  ///< [rows_, hidden] that x still lacks, or null.
  std::vector<LoraRows> lora_rows_;
  std::vector<AttentionSequence> attention_sequences_;
  LoraStepPlan lora_plan_;
  AttentionLaunch attention_launch_;
  LaunchMode mode_ = LaunchMode::kEager;
  DecodeGraphs::Kind kind_;
};

}  // namespace weft::ops::cuda
