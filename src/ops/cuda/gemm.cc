#include "ops/cuda/gemm.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/check.h"
#include "device/cuda/cuda_error.h"
#include "ops/cuda/few_rows_gemm.h"
#include "ops/cuda/few_rows_plan.h"
#include "ops/cuda/skinny_gemm.h"

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

/// Algorithms that are measured, how often each in turn, and how many products at a time.
constexpr int kCandidates = 8;
constexpr int kRounds = 4;
constexpr int kProducts = 4;
/// What another algorithm than the library's first must save to be taken: less is noise.
constexpr float kWorthwhile = 0.98F;
constexpr Bytes kWeightAlignment = 256;

/// Stand for our own kernels. No algorithm of the library begins so: those are small.
constexpr GemmAlgorithm kSkinny = {~uint64_t{0}};
constexpr GemmAlgorithm kFewRows = {~uint64_t{1}};
/// With fewer the two measure alike, each alone, and the choice is chance; but a step of one row
/// took 4.21 to 4.42 ms by it, and 4.30 to 4.33 without this kernel.
constexpr int32_t kLeastFewRows = 9;

static_assert(sizeof(GemmAlgorithm) == sizeof(cublasLtMatmulAlgo_t));

cublasLtMatmulAlgo_t OfTheLibrary(const GemmAlgorithm& algorithm) {
  cublasLtMatmulAlgo_t result;
  std::memcpy(&result, algorithm.data(), sizeof result);
  return result;
}

cudaDataType TypeOf(DType dtype) { return dtype == DType::kFloat32 ? CUDA_R_32F : CUDA_R_16BF; }

}  // namespace

/// The library is column-major: a row-major [rows, width] is its [width, rows]. So d^T [out, rows]
/// = (weight as stored: [in, out])^T * (h as stored: [in, rows]).
struct Gemm::Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight = nullptr;
  cublasLtMatrixLayout_t h = nullptr;
  cublasLtMatrixLayout_t d = nullptr;
  GemmAlgorithm algorithm = {};

  ~Plan() {
    cublasLtMatmulDescDestroy(product);
    cublasLtMatrixLayoutDestroy(weight);
    cublasLtMatrixLayoutDestroy(h);
    cublasLtMatrixLayoutDestroy(d);
  }
};

/// Time on the GPU between two points of a stream.
class Gemm::Stopwatch {
 public:
  Stopwatch() {
    WEFT_CUDA_CHECK(cudaEventCreate(&begin_));
    WEFT_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void Start(cudaStream_t stream) { WEFT_CUDA_CHECK(cudaEventRecord(begin_, stream)); }
  /// Milliseconds since Start, when the GPU is done.
  float Stop(cudaStream_t stream) {
    WEFT_CUDA_CHECK(cudaEventRecord(end_, stream));
    WEFT_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0.0F;
    WEFT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds;
  }

 private:
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

Result<std::unique_ptr<Gemm>> Gemm::Create(device::Device& device, const GemmOptions& options) {
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
  std::unique_ptr<Gemm> gemm(new Gemm(handle, std::move(workspace).value(), options));
  WEFT_RETURN_IF_ERROR(device::cuda::ToStatus(PrepareFewRowsGemm(gemm->shared_limit_),
                                              "preparing products of few rows"));
  return gemm;
}

Gemm::Gemm(cublasLtHandle_t handle, device::Buffer workspace, const GemmOptions& options)
    : handle_(handle), workspace_(std::move(workspace)), options_(options) {
  WEFT_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0));
  WEFT_CUDA_CHECK(
      cudaDeviceGetAttribute(&shared_limit_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
}

Gemm::~Gemm() {
  plans_.clear();
  cublasLtDestroy(handle_);
}

void Gemm::BeginMeasuring(std::span<const std::byte> weights) {
  if (options_.deterministic || options_.folder.empty()) return;
  cudaDeviceProp properties = {};
  WEFT_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  machine_ = {properties.name, cublasLtGetVersion()};
  file_ = options_.folder + "/" + machine_.FileName();
  auto choices = ReadGemmChoices(file_, machine_);
  if (choices.ok()) {
    choices_ = std::move(choices).value();
  } else {
    spdlog::warn("{}: ignored, matrix products are measured again", choices.error().message);
  }
  weights_ = weights;
  stopwatch_ = std::make_unique<Stopwatch>();
}

void Gemm::EndMeasuring() {
  if (stopwatch_ == nullptr) return;
  stopwatch_.reset();
  if (measured_ == 0) return;
  const Status written = WriteGemmChoices(file_, machine_, choices_);
  if (!written.ok())
    spdlog::warn("measured matrix products are not kept: {}", written.error().message);
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

std::vector<GemmAlgorithm> Gemm::Candidates(const Plan& plan, int most) const {
  cublasLtMatmulPreference_t preference = nullptr;
  WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  const auto workspace = static_cast<size_t>(workspace_.size());
  WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
  if (options_.deterministic) {
    const uint32_t no_splits = CUBLASLT_REDUCTION_SCHEME_NONE;
    WEFT_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_splits, sizeof no_splits));
  }
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(most));
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan.product, plan.weight, plan.h, plan.d, plan.d,
                                     preference, most, results.data(), &found);
  cublasLtMatmulPreferenceDestroy(preference);
  WEFT_CUBLAS_CHECK(status);
  std::vector<GemmAlgorithm> algorithms;
  for (int i = 0; i < found; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = results[static_cast<size_t>(i)];
    if (result.state != CUBLAS_STATUS_SUCCESS) continue;
    std::memcpy(algorithms.emplace_back().data(), &result.algo, sizeof result.algo);
  }
  WEFT_CHECK(!algorithms.empty());
  return algorithms;
}

bool Gemm::Takes(const GemmParams& params, const Plan& plan, const GemmAlgorithm& algorithm) const {
  if (algorithm == kSkinny) return SkinnyGemmServes(params);
  if (algorithm == kFewRows)
    return params.rows >= kLeastFewRows && FewRowsServes(params, shared_limit_);
  const cublasLtMatmulAlgo_t library = OfTheLibrary(algorithm);
  cublasLtMatmulHeuristicResult_t result = {};
  return cublasLtMatmulAlgoCheck(handle_, plan.product, plan.weight, plan.h, plan.d, plan.d,
                                 &library, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= static_cast<size_t>(workspace_.size());
}

const Gemm::Plan& Gemm::PlanFor(const GemmParams& params, cudaStream_t stream) {
  const GemmShape shape{params.dtype, params.out_dtype, params.c != nullptr, params.rows,
                        params.out,   params.in,        params.h_stride,     params.d_stride};
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (plan == nullptr) {
    plan = MakePlan(params);
    Choose(params, shape, *plan, stream);
  }
  return *plan;
}

void Gemm::Choose(const GemmParams& params, const GemmShape& shape, Plan& plan,
                  cudaStream_t stream) {
  if (options_.deterministic) {
    GemmParams reference = params;
    reference.rows = kDeterministicRows;
    plan.algorithm = Candidates(*MakePlan(reference), 1).front();
    return;
  }
  if (const auto kept = choices_.find(shape); kept != choices_.end()) {
    plan.algorithm = kept->second;
    if (Takes(params, plan, plan.algorithm)) return;
  }
  auto candidates = Candidates(plan, stopwatch_ != nullptr ? kCandidates : 1);
  plan.algorithm = candidates.front();
  if (stopwatch_ == nullptr) return;
  for (const GemmAlgorithm& own : {kSkinny, kFewRows})
    if (Takes(params, plan, own)) candidates.push_back(own);
  plan.algorithm = Measure(params, plan, candidates, stream);
  choices_[shape] = plan.algorithm;
  ++measured_;
}

/// Each candidate in turn, several times; its best time counts. Weights come from another place at
/// each product, as they do in a step.
GemmAlgorithm Gemm::Measure(const GemmParams& params, Plan& plan,
                            const std::vector<GemmAlgorithm>& candidates, cudaStream_t stream) {
  const Bytes bytes = Bytes{params.out} * params.in * SizeOf(params.dtype);
  const Bytes step = (bytes + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
  const Bytes room = static_cast<Bytes>(weights_.size()) - bytes;
  Bytes next = 0;
  std::vector<float> best(candidates.size(), std::numeric_limits<float>::max());
  for (int round = 0; round < kRounds; ++round)
    for (size_t i = 0; i < candidates.size(); ++i) {
      plan.algorithm = candidates[i];
      stopwatch_->Start(stream);
      for (int product = 0; product < kProducts; ++product) {
        GemmParams elsewhere = params;
        if (room >= step) elsewhere.weight = weights_.data() + next;
        next = next + step > room ? 0 : next + step;
        Run(plan, elsewhere, stream);
      }
      best[i] = std::min(best[i], stopwatch_->Stop(stream));
    }
  const auto fastest = std::min_element(best.begin(), best.end());
  return *fastest < kWorthwhile * best.front()
             ? candidates[static_cast<size_t>(fastest - best.begin())]
             : candidates.front();
}

void Gemm::Run(const Plan& plan, const GemmParams& params, cudaStream_t stream) const {
  if (plan.algorithm == kSkinny) {
    WEFT_CUDA_CHECK(LaunchSkinnyGemm(params, stream));
    return;
  }
  if (plan.algorithm == kFewRows) {
    WEFT_CUDA_CHECK(LaunchFewRowsGemm(params, multiprocessors_, stream));
    return;
  }
  const cublasLtMatmulAlgo_t algorithm = OfTheLibrary(plan.algorithm);
  const float one = 1.0F;
  const float beta = params.c != nullptr ? 1.0F : 0.0F;
  const void* c = params.c != nullptr ? params.c : params.d;
  WEFT_CUBLAS_CHECK(cublasLtMatmul(handle_, plan.product, &one, params.weight, plan.weight,
                                   params.h, plan.h, &beta, c, plan.d, params.d, plan.d, &algorithm,
                                   workspace_.data(), static_cast<size_t>(workspace_.size()),
                                   stream));
}

void Gemm::Launch(const GemmParams& params, cudaStream_t stream) {
  Run(PlanFor(params, stream), params, stream);
}

}  // namespace weft::ops::cuda
