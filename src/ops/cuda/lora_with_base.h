#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/lora_kernels.h"

namespace weft::ops::cuda {

/// The decode kernel of lora_decode.cuh with params.base in the same blocks, by threads of its own:
/// while the adapters' part waits, for memory or for other blocks' sums, the base model's weights
/// still come. As two kernels they would follow each other: neither leaves room for the other.
cudaError_t PrepareWithBase(int32_t shared_limit);
void LaunchWithBase(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
