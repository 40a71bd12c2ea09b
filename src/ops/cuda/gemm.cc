#include "ops/cuda/gemm.h"

#include <utility>

#include "base/check.h"
#include "device/cuda/cuda_error.h"

namespace weft::ops::cuda {
namespace {

/// What cuBLAS itself takes on Hopper; more changes no choice of its heuristics.
constexpr Bytes kWorkspace = 32 * kMiB;
/// For how many rows the one algorithm is chosen when deterministic.
constexpr int32_t kDeterministicRows = 64;

void CheckCublas(cublasStatus_t status, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  device::cuda::LoseDevice(cublasLtGetStatusString(status), file, line);
}
#define WEFT_CUBLAS_CHECK(call) CheckCublas((call), __FILE__, __LINE__)

cudaDataType TypeOf(DType dtype) { return dtype == DType::kFloat32 ? CUDA_R_32F : CUDA_R_16BF; }

}  // namespace

/// The library is column-major: a row-major [rows, width] is its [width, rows]. So d^T [out, rows]
/// = (weight as stored: [in, out])^T * (h as stored: [in, rows]).
struct Gemm::Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight = nullptr;
  cublasLtMatrixLayout_t h = nullptr;
  cublasLtMatrixLayout_t d = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};

  ~Plan() {
    cublasLtMatmulDescDestroy(product);
    cublasLtMatrixLayoutDestroy(weight);
    cublasLtMatrixLayoutDestroy(h);
    cublasLtMatrixLayoutDestroy(d);
  }
};

Result<std::unique_ptr<Gemm>> Gemm::Create(device::Device& device, bool deterministic) {
  cublasLtHandle_t handle = nullptr;
  const cublasStatus_t status = cublasLtCreate(&handle);
  if (status != CUBLAS_STATUS_SUCCESS)
    return MakeError(ErrorCode::kInternal, "cuBLASLt {} does not start: {}", cublasLtGetVersion(),
                     cublasLtGetStatusString(status));
  auto workspace = device.AllocateDevice(kWorkspace);
  if (!workspace.ok()) {
    cublasLtDestroy(handle);
    return workspace.error();
  }
  return std::unique_ptr<Gemm>(new Gemm(handle, std::move(workspace).value(), deterministic));
}

Gemm::Gemm(cublasLtHandle_t handle, device::Buffer workspace, bool deterministic)
    : handle_(handle), workspace_(std::move(workspace)), deterministic_(deterministic) {}

Gemm::~Gemm() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

std::unique_ptr<Gemm::Plan> Gemm::MakePlan(const GemmParams& params) const {
  auto plan = std::make_unique<Plan>();
  const cudaDataType type = TypeOf(params.dtype);
  const auto rows = static_cast<uint64_t>(params.rows);
  const auto out = static_cast<uint64_t>(params.out);
  const auto in = static_cast<uint64_t>(params.in);
  WEFT_CUBLAS_CHECK(cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  WEFT_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                   &transposed, sizeof transposed));
  WEFT_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&plan->weight, type, in, out, params.in));
  WEFT_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&plan->h, type, in, rows, params.h_stride));
  WEFT_CUBLAS_CHECK(
      cublasLtMatrixLayoutCreate(&plan->d, TypeOf(params.out_dtype), out, rows, params.d_stride));
  return plan;
}

cublasLtMatmulAlgo_t Gemm::ChooseAlgorithm(const Plan& plan) const {
  cublasLtMatmulPreference_t preference = nullptr;
  WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto workspace = static_cast<size_t>(workspace_.size());
  WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
  if (deterministic_) {
    const uint32_t no_splits = CUBLASLT_REDUCTION_SCHEME_NONE;
    WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_splits, sizeof no_splits));
  }
  cublasLtMatmulHeuristicResult_t best = {};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, plan.product, plan.weight, plan.h, plan.d, plan.d, preference, 1, &best, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  WEFT_CUBLAS_CHECK(status);
  WEFT_CHECK(found == 1);
  return best.algo;
}

const Gemm::Plan& Gemm::PlanFor(const GemmParams& params) {
  const Key key{params.dtype, params.out_dtype, params.c != nullptr, params.rows,
                params.out,   params.in,        params.h_stride,     params.d_stride};
  std::unique_ptr<Plan>& plan = plans_[key];
  if (plan != nullptr) return *plan;
  plan = MakePlan(params);
  GemmParams reference = params;
  if (deterministic_) reference.rows = kDeterministicRows;
  plan->algorithm = ChooseAlgorithm(*MakePlan(reference));
  return *plan;
}

void Gemm::Launch(const GemmParams& params, cudaStream_t stream) {
  const Plan& plan = PlanFor(params);
  const float one = 1.0F;
  const float beta = params.c != nullptr ? 1.0F : 0.0F;
  const void* c = params.c != nullptr ? params.c : params.d;
  WEFT_CUBLAS_CHECK(cublasLtMatmul(handle_, plan.product, &one, params.weight, plan.weight,
                                   params.h, plan.h, &beta, c, plan.d, params.d, plan.d,
                                   &plan.algorithm, workspace_.data(),
                                   static_cast<size_t>(workspace_.size()), stream));
}

}  // namespace weft::ops::cuda
