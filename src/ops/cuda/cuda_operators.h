#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "ops/cuda/cuda_matrix.h"
#include "ops/cuda/cuda_tile_packer.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/step_metadata.h"
#include "ops/operators.h"

namespace weft::ops::cuda {

/// The operators on a GPU. Each queues kernels on the stream that this owns and returns; Sample and
/// FinishStep wait. Activations: x and logits in float, h, queries and what projections put out in
/// elements. A step's rows are padded to a round number of rows, which write to page 0.
class CudaOperators final : public Operators {
 public:
  static Result<std::unique_ptr<Operators>> Create(device::Device& device,
                                                   const ModelConfig& config,
                                                   const OperatorsOptions& options);
  ~CudaOperators() override;

  const TilePacker& tile_packer() const override { return packer_; }
  Bytes workspace_bytes() const override;
  Result<std::unique_ptr<Matrix>> CreateMatrix(int32_t out, int32_t in) override;
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
  void FinishStep() override;

 private:
  CudaOperators(device::Device& device, const ModelConfig& config, const OperatorsOptions& options);
  Status Allocate();
  /// What BeginStep writes for kernels: a value for each padded row.
  void WriteRows(const StepRows& step);
  /// out [rows_, sum of the matrices' out] = h times the matrices side by side, plus what `out`
  /// holds where `add`. One product where they lie one after the other.
  void Project(std::span<const CudaMatrix* const> matrices, DType out_dtype, std::byte* out,
               bool add);
  /// Where rows of the step use adapters: `out` [rows_, sum of the projections' out] = what they
  /// add to these projections of h, zero in other rows; returns true. Else does nothing.
  bool AddAdapters(LayerIndex layer, std::span<const Projection> projections, std::byte* out);
  /// x += what adapters add to a projection of h.
  void AddAdaptersToResidual(LayerIndex layer, Projection projection);
  /// x += weight * h + bias + adapters.
  void ProjectIntoResidual(LayerIndex layer, Projection projection, const CudaMatrix& weight,
                           std::span<const float> bias);

  device::Device& device_;
  const ModelConfig config_;
  const OperatorsOptions options_;
  const CudaTilePacker packer_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Gemm> gemm_;
  std::unique_ptr<WeightArena> weight_arena_;
  DeviceVectors vectors_;
  const std::vector<float> rope_frequencies_;

  device::Buffer workspace_;
  float* x_ = nullptr;            ///< [padded rows, hidden]
  std::byte* h_ = nullptr;        ///< [padded rows, width of what it holds]
  std::byte* wide_ = nullptr;     ///< What q, k, v or gate, up put out, side by side.
  std::byte* queries_ = nullptr;  ///< [padded rows, heads, head_dim]
  float* rope_ = nullptr;         ///< [padded rows, head_dim]: cos, sin
  float* logits_ = nullptr;       ///< [padded logits rows, logits_stride_]
  int64_t logits_stride_ = 0;

  StepMetadata metadata_;
  MetadataSection tokens_;
  MetadataSection positions_;
  MetadataSection slots_;
  MetadataSection logits_rows_;

  std::byte* arena_ = nullptr;
  int32_t page_count_ = 0;

  int32_t rows_ = 0;         ///< Of the step, padded.
  int32_t h_width_ = 0;      ///< Elements of a row of h.
  int32_t logits_used_ = 0;  ///< Entries of logits_rows_ of the step.
};

}  // namespace weft::ops::cuda
