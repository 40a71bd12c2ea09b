#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/gemm_params.h"

namespace weft::ops::cuda {

/// The product of few_rows_product.cuh in a launch of its own, where FewRowsServes: a block on each
/// multiprocessor, with nearly all shared memory as its ring.
cudaError_t PrepareFewRowsGemm(int32_t shared_limit);
cudaError_t LaunchFewRowsGemm(const GemmParams& params, int32_t multiprocessors,
                              cudaStream_t stream);

}  // namespace weft::ops::cuda
