#pragma once

#include "base/check.h"
#include "ops/cuda/lora_kernels.h"

namespace weft::ops::cuda {

/// Whether kernels can be launched beside the end of the one before.
inline bool CanOverlap() {
  int device = 0;
  int major = 0;
  WEFT_CHECK(cudaGetDevice(&device) == cudaSuccess);
  WEFT_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
             cudaSuccess);
  return major >= 9;
}

/// Launches a persistent grid.
inline void LaunchKernel(void (*kernel)(LoraParams), const LoraParams& params, LoraWork work,
                         int threads, size_t shared_bytes, cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(LoraBlocks(work, params.multiprocessors)));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = params.programmatic && CanOverlap() ? 1 : 0;
  WEFT_CHECK(cudaLaunchKernelEx(&config, kernel, params) == cudaSuccess);
}

}  // namespace weft::ops::cuda
