#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_prefill.cuh"
#include "ops/cuda/lora_with_base.h"

namespace weft::ops::cuda {

cudaError_t PrepareLoraKernels(int32_t shared_limit) {
  for (const cudaError_t error :
       {PrepareDecode(shared_limit), PrepareWithBase(shared_limit),
        PreparePrefillShrink(shared_limit), PreparePrefillExpand(shared_limit)})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

void LaunchLora(const LoraParams& params, cudaStream_t stream) {
  if (params.base.weight != nullptr)
    LaunchWithBase(params, stream);
  else if (params.decode)
    LaunchDecode(params, stream);
  if (!params.prefill) return;
  LaunchPrefillShrink(params, stream);
  LaunchPrefillExpand(params, stream);
}

}  // namespace weft::ops::cuda
