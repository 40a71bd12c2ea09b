#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "device/device.h"
#include "ops/cuda/gemm_choices.h"
#include "ops/cuda/gemm_params.h"

namespace weft::ops::cuda {

struct GemmOptions {
  /// One algorithm for every number of rows, which splits no sum; nothing is measured.
  bool deterministic = false;
  /// Where measured choices are kept from start to start; empty: nothing is measured.
  std::string folder;
};

/// Matrix products, summed in float, through cuBLASLt or the kernels of skinny_gemm.h and
/// few_rows_gemm.h. Chooses an algorithm for each shape once, when it is first wanted: by the clock
/// while measuring, one that was so chosen before if there is one, else by the library's
/// heuristics. Owned by the operators and used by their thread.
class Gemm {
 public:
  static Result<std::unique_ptr<Gemm>> Create(device::Device& device, const GemmOptions& options);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Not while a graph is recorded, when the shape is new.
  void Launch(const GemmParams& params, cudaStream_t stream);
  Bytes workspace_bytes() const { return workspace_.size(); }

  /// From now on the algorithms of new shapes are measured, each with weights from anywhere in
  /// `weights`, so that none finds its own in the caches; what d holds is spoiled by it. Until
  /// EndMeasuring, which keeps the choices. A file that is damaged or another machine's is ignored.
  void BeginMeasuring(std::span<const std::byte> weights);
  void EndMeasuring();
  /// Shapes measured so far.
  int32_t measured() const { return measured_; }

 private:
  struct Plan;
  class Stopwatch;

  Gemm(cublasLtHandle_t handle, device::Buffer workspace, const GemmOptions& options);
  const Plan& PlanFor(const GemmParams& params, cudaStream_t stream);
  std::unique_ptr<Plan> MakePlan(const GemmParams& params) const;
  void Choose(const GemmParams& params, const GemmShape& shape, Plan& plan, cudaStream_t stream);
  /// Algorithms for the plan, the one the library thinks fastest first.
  std::vector<GemmAlgorithm> Candidates(const Plan& plan, int most) const;
  /// Whether this library takes the algorithm for the plan.
  bool Takes(const GemmParams& params, const Plan& plan, const GemmAlgorithm& algorithm) const;
  GemmAlgorithm Measure(const GemmParams& params, Plan& plan,
                        const std::vector<GemmAlgorithm>& candidates, cudaStream_t stream);
  void Run(const Plan& plan, const GemmParams& params, cudaStream_t stream) const;

  const cublasLtHandle_t handle_;
  device::Buffer workspace_;
  const GemmOptions options_;
  int32_t multiprocessors_ = 0;
  int32_t shared_limit_ = 0;
  std::map<GemmShape, std::unique_ptr<Plan>> plans_;

  GemmMachine machine_;
  std::string file_;  ///< Empty: choices are not kept.
  GemmChoices choices_;
  std::unique_ptr<Stopwatch> stopwatch_;  ///< While measuring.
  std::span<const std::byte> weights_;
  int32_t measured_ = 0;
};

}  // namespace weft::ops::cuda
