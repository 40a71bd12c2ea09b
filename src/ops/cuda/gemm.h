#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"
#include "device/device.h"

namespace weft::ops::cuda {

/// d [rows, out] = h [rows, in] * weight [out, in]^T (+ c [rows, out]). All row-major; strides in
/// elements.
struct GemmParams {
  DType dtype = DType::kBFloat16;      ///< Of h and the weight.
  DType out_dtype = DType::kBFloat16;  ///< Of c and d.
  const void* weight = nullptr;
  const void* h = nullptr;
  const void* c = nullptr;  ///< Null: nothing is added. May be d.
  void* d = nullptr;
  int32_t rows = 0;
  int32_t out = 0;
  int32_t in = 0;
  int64_t h_stride = 0;
  int64_t d_stride = 0;  ///< Of c as well.
};

/// Matrix products through cuBLASLt, summed in float. Chooses an algorithm for each shape once,
/// when it is first wanted, by the library's heuristics. Owned by the operators and used by their
/// thread.
class Gemm {
 public:
  static Result<std::unique_ptr<Gemm>> Create(device::Device& device, bool deterministic);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void Launch(const GemmParams& params, cudaStream_t stream);
  Bytes workspace_bytes() const { return workspace_.size(); }

 private:
  struct Plan;
  /// Everything that an algorithm depends on.
  using Key = std::tuple<DType, DType, bool, int32_t, int32_t, int32_t, int64_t, int64_t>;

  Gemm(cublasLtHandle_t handle, device::Buffer workspace, bool deterministic);
  const Plan& PlanFor(const GemmParams& params);
  std::unique_ptr<Plan> MakePlan(const GemmParams& params) const;
  cublasLtMatmulAlgo_t ChooseAlgorithm(const Plan& plan) const;

  const cublasLtHandle_t handle_;
  device::Buffer workspace_;
  const bool deterministic_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace weft::ops::cuda
