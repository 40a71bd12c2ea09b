#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/gemm_params.h"
#include "ops/cuda/lora_work.h"

// y[row, :] += scaling * B (A x[row]) for every row's own adapter, as bf16 deltas that are added to
// what the base model puts out; rows and modules without an adapter get zeros. Groups of few rows
// take one launch for each operator, groups of many three.
//
// A x is summed in float in the order that lora_work.h states, times the scaling, rounded to bf16
// as on the CPU; its product with B is summed in float over the rank in order. A row's result does
// not depend on the other rows, and nothing is summed by atomics.
//
// Grids depend on the device alone: what there is to do is read from the step in device memory, so
// launches may be captured in a graph, and the step and the tables may change between replays. The
// layers of a step run in order, each operator once: they count in the step what has arrived. A
// step is uploaded anew before its layers run again (with an even number of layers it may stay).

namespace weft::ops::cuda {

/// Where one projection's delta goes.
struct LoraDelta {
  __nv_bfloat16* y = nullptr;  ///< [rows, out], 16-byte aligned.
  int64_t stride = 0;          ///< Elements, a multiple of 8.
  int32_t out = 0;             ///< A multiple of 8.
};

/// One operator of one layer. All pointers are device memory.
struct LoraParams {
  LoraStep* step = nullptr;
  const int32_t* row_numbers = nullptr;
  LoraOperator op = LoraOperator::kQkv;
  int32_t layer = 0;
  int32_t layers = 0;
  const __nv_bfloat16* x = nullptr;  ///< [rows, in], 16-byte aligned.
  int64_t x_stride = 0;              ///< Elements, a multiple of 8.
  int32_t in = 0;                    ///< A multiple of 8.
  LoraDelta delta[kMaxOperatorProjections];
  float* scratch = nullptr;  ///< LoraScratchFloats; 16-byte aligned.
  /// A product of x with the base model's weight to be computed in the decode kernel's launch, for
  /// which FewRowsServes (few_rows_plan.h). Its sums are in another order than other kernels'.
  /// Without a weight: none.
  GemmParams base;

  /// LoraStepPlan's: whether to launch the prefill kernels. A captured graph leaves it false and
  /// takes only steps without prefill groups.
  bool prefill = false;
  /// Whether to launch the decode kernels. A captured graph leaves it true.
  bool decode = true;
  int32_t multiprocessors = 0;
  int32_t shared_limit = 0;  ///< cudaDevAttrMaxSharedMemoryPerBlockOptin.
  /// Launch so that the kernels' beginning overlaps the end of the one before them, where the
  /// device can (compute capability 9.0). The step, the tables and the tiles are then read before
  /// the kernels back to the last ordinary launch have finished: none of them may write them.
  bool programmatic = false;
};

/// Once for each device, before the first launch: the shared memory that the kernels need.
cudaError_t PrepareLoraKernels(int32_t shared_limit);

void LaunchLora(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
