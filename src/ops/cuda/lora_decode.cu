#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

__global__ void __launch_bounds__(kDecodeThreads, 2)
    LoraDecode(const __grid_constant__ LoraParams params) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<DecodeShared*>(memory);
  if (threadIdx.x == 0) InitBarriers(shared);
  __syncthreads();
  RunDecode(params, shared);
}

}  // namespace

cudaError_t PrepareDecode() {
  return cudaFuncSetAttribute(LoraDecode, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(DecodeShared));
}

void LaunchDecode(const LoraParams& params, cudaStream_t stream) {
  LaunchKernel(LoraDecode, params, LoraWork::kDecodeShrink, kDecodeThreads, sizeof(DecodeShared),
               stream);
}

}  // namespace weft::ops::cuda
