#include "ops/cuda/flashinfer_attention.cuh"

namespace weft::ops::cuda {

cudaError_t PrepareFlashInfer64() { return paged::PrepareFlashInfer<64>(); }

cudaError_t LaunchFlashInfer64(const AttentionWork& work, cudaStream_t stream) {
  return paged::LaunchFlashInfer<64>(work, stream);
}

}  // namespace weft::ops::cuda
