#include <array>

#include "base/check.h"
#include "device/cuda/cuda_error.h"
#include "ops/cuda/cuda_operators.h"
#include "ops/cuda/few_rows_plan.h"
#include "ops/cuda/head_kernels.h"
#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/row_kernels.h"

namespace weft::ops::cuda {
namespace {

const CudaMatrix* Cuda(const std::unique_ptr<Matrix>& matrix) {
  return static_cast<const CudaMatrix*>(matrix.get());
}

bool Adjacent(std::span<const CudaMatrix* const> matrices) {
  for (size_t i = 1; i < matrices.size(); ++i)
    if (matrices[i]->data() != matrices[i - 1]->data() + matrices[i - 1]->bytes()) return false;
  return true;
}

}  // namespace

std::vector<GemmParams> CudaOperators::ProductsOf(std::span<const CudaMatrix* const> matrices,
                                                  DType out_dtype, std::byte* out, bool add) const {
  GemmParams product;
  product.dtype = options_.dtype;
  product.out_dtype = out_dtype;
  product.h = h_;
  product.rows = rows_;
  product.in = h_width_;
  product.h_stride = h_width_;
  for (const CudaMatrix* matrix : matrices) product.d_stride += matrix->out();
  std::vector<GemmParams> products;
  const auto append = [&](const CudaMatrix& matrix, int64_t rows_of_weight) {
    WEFT_CHECK(matrix.in() == h_width_);
    product.weight = matrix.data();
    product.d = out;
    product.c = add ? out : nullptr;
    product.out = static_cast<int32_t>(rows_of_weight);
    products.push_back(product);
    out += rows_of_weight * SizeOf(out_dtype);
  };
  // Side by side their outputs are one row; apart, each takes its columns of it.
  if (Adjacent(matrices)) {
    append(*matrices.front(), product.d_stride);
  } else {
    for (const CudaMatrix* matrix : matrices) append(*matrix, matrix->out());
  }
  return products;
}

void CudaOperators::Launch(std::span<const GemmParams> products) {
  for (const GemmParams& product : products) gemm_->Launch(product, stream_);
}

const std::byte* CudaOperators::Project(LayerIndex layer, LoraOperator op,
                                        std::span<const CudaMatrix* const> matrices,
                                        DType out_dtype, std::byte* out, bool add) {
  const std::vector<GemmParams> products = ProductsOf(matrices, out_dtype, out, add);
  if (!lora_plan_.any) {
    Launch(products);
    return nullptr;
  }
  LoraParams deltas = DeltasOf(layer, op, matrices);
  // A product of its own for steps with adapters would make a row's bits depend on its neighbours.
  const bool together = !options_.deterministic && !lora_plan_.prefill && products.size() == 1 &&
                        FewRowsServes(products.front(), shared_limit_);
  if (together) {
    deltas.base = products.front();
    LaunchLora(deltas, stream_);
  } else if (mode_ == LaunchMode::kCapture) {
    deltas.programmatic = false;  // It comes behind an event, not a kernel.
    LaunchLora(deltas, side_stream_.Fork(stream_));
    Launch(products);
    side_stream_.Join(stream_);
  } else if (deltas.prefill && deltas.decode) {
    // Neither fills the GPU: prefills have too few tiles, decodes wait for memory. The prefills' go
    // first, since the decodes' blocks fit where those leave room.
    LoraParams decodes = deltas;
    decodes.prefill = false;
    decodes.programmatic = false;
    deltas.decode = false;
    const cudaStream_t beside = side_stream_.Fork(stream_);
    LaunchLora(deltas, stream_);
    LaunchLora(decodes, beside);
    Launch(products);
    side_stream_.Join(stream_);
  } else {
    LaunchLora(deltas, stream_);
    Launch(products);
  }
  return deltas_;
}

void CudaOperators::ProjectQkv(LayerIndex layer, const AttentionWeights& weights) {
  if (mode_ == LaunchMode::kReplay) return;
  const std::array matrices = {Cuda(weights.q), Cuda(weights.k), Cuda(weights.v)};
  FinishHeadsParams params;
  params.dtype = options_.dtype;
  params.delta = Project(layer, LoraOperator::kQkv, matrices, options_.dtype, wide_, false);
  params.qkv = wide_;
  params.q_bias = vectors_.Get(weights.q_bias, stream_);
  params.k_bias = vectors_.Get(weights.k_bias, stream_);
  params.v_bias = vectors_.Get(weights.v_bias, stream_);
  params.q_norm = vectors_.Get(weights.q_norm, stream_);
  params.k_norm = vectors_.Get(weights.k_norm, stream_);
  params.rope = weights.rope ? rope_ : nullptr;
  params.slots = metadata_.Device<int32_t>(slots_);
  params.queries = queries_;
  params.arena = arena_;
  params.page_bytes = options_.kv.page_bytes;
  params.k_offset = options_.kv.HeadOffset(layer.value(), 0, false);
  params.v_offset = options_.kv.HeadOffset(layer.value(), 0, true);
  params.tokens_per_page = options_.kv.tokens_per_page;
  params.rows = rows_;
  params.heads = config_.heads;
  params.kv_heads = config_.kv_heads;
  params.head_dim = config_.head_dim;
  params.epsilon = config_.rms_epsilon;
  LaunchFinishHeads(params, stream_);
}

void CudaOperators::ProjectOutput(LayerIndex layer, const AttentionWeights& weights) {
  ProjectIntoResidual(layer, LoraOperator::kOutput, *Cuda(weights.output), weights.output_bias);
}

void CudaOperators::ProjectGateUp(LayerIndex layer, const MlpWeights& weights) {
  if (mode_ == LaunchMode::kReplay) return;
  const std::array matrices = {Cuda(weights.gate), Cuda(weights.up)};
  SiluMultiplyParams params;
  params.dtype = options_.dtype;
  params.delta = Project(layer, LoraOperator::kGateUp, matrices, options_.dtype, wide_, false);
  params.gate_up = wide_;
  params.out = h_;
  params.rows = rows_;
  params.width = config_.intermediate;
  LaunchSiluMultiply(params, stream_);
  h_width_ = config_.intermediate;
}

void CudaOperators::ProjectDown(LayerIndex layer, const MlpWeights& weights) {
  ProjectIntoResidual(layer, LoraOperator::kDown, *Cuda(weights.down), {});
}

void CudaOperators::ProjectIntoResidual(LayerIndex layer, LoraOperator op, const CudaMatrix& weight,
                                        std::span<const float> bias) {
  if (mode_ == LaunchMode::kReplay) return;
  WEFT_CHECK(pending_delta_ == nullptr);
  AddBiasParams params;
  params.bias = vectors_.Get(bias, stream_);
  params.x = x_;
  params.rows = rows_;
  params.width = config_.hidden;
  if (params.bias != nullptr) LaunchAddBias(params, stream_);
  const std::array matrices = {&weight};
  pending_delta_ =
      Project(layer, op, matrices, DType::kFloat32, reinterpret_cast<std::byte*>(x_), true);
}

LoraParams CudaOperators::DeltasOf(LayerIndex layer, LoraOperator op,
                                   std::span<const CudaMatrix* const> matrices) const {
  LoraParams params;
  params.step = metadata_.Device<LoraStep>(lora_step_);
  params.row_numbers = metadata_.Device<int32_t>(lora_row_numbers_);
  params.op = op;
  params.layer = layer.value();
  params.layers = config_.layers;
  params.x = reinterpret_cast<const __nv_bfloat16*>(h_);
  params.x_stride = h_width_;
  params.in = h_width_;
  int32_t width = 0;
  for (const CudaMatrix* matrix : matrices) width += matrix->out();
  auto* y = reinterpret_cast<__nv_bfloat16*>(deltas_);
  for (size_t i = 0; i < matrices.size(); ++i) {
    params.delta[i] = {y, width, matrices[i]->out()};
    y += matrices[i]->out();
  }
  params.scratch = lora_scratch_;
  params.prefill = lora_plan_.prefill;
  params.decode = lora_plan_.decode || mode_ == LaunchMode::kCapture;
  params.shared_limit = shared_limit_;
  params.multiprocessors = multiprocessors_;
  params.programmatic = true;
  return params;
}

void CudaOperators::Attend(LayerIndex layer) {
  if (mode_ == LaunchMode::kReplay) return;
  AttentionParams params;
  params.queries = queries_;
  params.arena = arena_;
  params.page_bytes = options_.kv.page_bytes;
  params.page_count = page_count_;
  params.k_offset = options_.kv.HeadOffset(layer.value(), 0, false);
  params.v_offset = options_.kv.HeadOffset(layer.value(), 0, true);
  params.out = h_;
  params.plan = metadata_.Device<std::byte>(attention_plan_);
  params.scratch = attention_scratch_;
  WEFT_CUDA_CHECK(attention_->Run(params, attention_launch_, stream_, side_stream_));
  h_width_ = config_.heads * config_.head_dim;
}

}  // namespace weft::ops::cuda
