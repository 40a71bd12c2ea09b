#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_prefill.cuh"

namespace weft::ops::cuda {

cudaError_t PrepareLoraKernels(int32_t shared_limit) {
  for (const cudaError_t error :
       {PrepareDecodeShrink(), PrepareDecodeExpand(), PreparePrefillShrink(shared_limit),
        PreparePrefillExpand(shared_limit)})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

void LaunchLoraShrink(const LoraParams& params, cudaStream_t stream) {
  if (params.decode) LaunchDecodeShrink(params, stream);
  if (params.prefill) LaunchPrefillShrink(params, stream);
}

void LaunchLoraExpand(const LoraParams& params, cudaStream_t stream) {
  if (params.decode) LaunchDecodeExpand(params, stream);
  if (params.prefill) LaunchPrefillExpand(params, stream);
}

}  // namespace weft::ops::cuda
