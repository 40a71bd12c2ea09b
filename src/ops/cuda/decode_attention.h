#pragma once

#include <cuda_runtime.h>

#include "ops/cuda/attention_work.h"

namespace weft::ops::cuda {

/// Attention of sequences with one row each where DecodeServes, built for the latency of a decode
/// step: each warp streams its own tokens through its own shared memory, a step has one launch, and
/// the block that ends last for a row and kv head merges the parts of all. A sequence of no tokens
/// gets zeros. Needs `work.counters`, zero when a plan arrives; leaves them zero. Ignores tile_rows
/// and split: a sequence longer than the chunk is split. `wide`: in blocks of 12 warps, for which
/// there must be room; else of 4. Nothing but the plan and K and V of earlier steps is read before
/// the kernel before has ended. PrepareDecodeAttention once before the first launch on a device,
/// outside of graph capture.
cudaError_t FindDecodeRoom(int32_t head_dim, DecodeRoom* room);
cudaError_t PrepareDecodeAttention();
cudaError_t LaunchDecodeAttention(const AttentionWork& work, cudaStream_t stream);

}  // namespace weft::ops::cuda
