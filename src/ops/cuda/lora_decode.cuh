#pragma once

#include "ops/cuda/lora_device.cuh"

// The LoRA kernels for few rows of an adapter. Each weight is read once for 16 rows, so they wait
// for memory: a thread keeps 16 loads of 16 bytes in flight, and a block's first weights are on
// their way before the kernel before has finished.

namespace weft::ops::cuda {

constexpr int kDecodeThreads = 128;
constexpr int kDecodeWarps = kDecodeThreads / kWarp;
/// Blocks of a multiprocessor: 128 KiB in flight.
constexpr int kDecodeBlocks = 4;
/// Rows of one tensor core product.
constexpr int kRowTile = 16;

void LaunchDecodeShrink(const LoraParams& params, cudaStream_t stream);
void LaunchDecodeExpand(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
