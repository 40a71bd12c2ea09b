#pragma once

#include <cuda_runtime_api.h>

namespace weft::ops::cuda {

/// Queues a kernel that traps: the GPU's context is lost when it runs.
void LaunchFaultyKernel(cudaStream_t stream);

}  // namespace weft::ops::cuda
