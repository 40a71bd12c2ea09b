#pragma once

#include <cuda_runtime.h>

#include "ops/cuda/attention_work.h"

namespace weft::ops::cuda {

/// Attention without tensor cores for any head_dim that is a multiple of 16 up to 256: simple and
/// right, for models whose head dimension FlashInfer is not built for. Any tile_rows.
/// `Prepare` once before the first launch on a device, outside of graph capture.
cudaError_t PreparePlainAttention();
cudaError_t LaunchPlainAttention(const AttentionWork& work, cudaStream_t stream);

}  // namespace weft::ops::cuda
