#pragma once

#include "base/check.h"
#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/overlapped_launch.cuh"

namespace weft::ops::cuda {

/// Launches a persistent grid.
template <typename... More>
void LaunchKernel(void (*kernel)(LoraParams, More...), const LoraParams& params, LoraWork work,
                  int threads, size_t shared_bytes, cudaStream_t stream, const More&... more) {
  const dim3 grid(static_cast<unsigned>(LoraBlocks(work, params.multiprocessors)));
  const dim3 block(static_cast<unsigned>(threads));
  WEFT_CHECK(LaunchAs(params.programmatic, kernel, grid, block, shared_bytes, stream, params,
                      more...) == cudaSuccess);
}

}  // namespace weft::ops::cuda
