#pragma once

#include <cuda_runtime.h>

#include "ops/cuda/attention_work.h"

namespace weft::ops::cuda {

/// FlashInfer's FlashAttention-2 kernels over paged KV, for one head dimension: tiles of 16, 64 or
/// 128 queries (a row's query heads that share a kv head are packed into a tile, so that every
/// group size is served). Tensor cores, float accumulation; what lies past a sequence's tokens is
/// never used. Each function lives in a translation unit of its own: they take long to compile.
/// `Prepare` once before the first launch on a device, outside of graph capture.
cudaError_t PrepareFlashInfer64();
cudaError_t PrepareFlashInfer128();
cudaError_t LaunchFlashInfer64(const AttentionWork& work, cudaStream_t stream);
cudaError_t LaunchFlashInfer128(const AttentionWork& work, cudaStream_t stream);

}  // namespace weft::ops::cuda
