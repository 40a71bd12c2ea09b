#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/gemm_params.h"

namespace weft::ops::cuda {

/// Products of few rows, which take as long as their weight takes to read: bf16, at most 16 rows.
/// The weight goes from memory to registers without a stop, and its first piece is on the way while
/// the kernel before still runs. Sums split the same way for any number of rows, in a fixed order.
bool SkinnyGemmServes(const GemmParams& params);
cudaError_t LaunchSkinnyGemm(const GemmParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
