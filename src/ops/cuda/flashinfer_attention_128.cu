#include "ops/cuda/flashinfer_attention.cuh"

namespace weft::ops::cuda {

cudaError_t PrepareFlashInfer128() { return paged::PrepareFlashInfer<128>(); }

cudaError_t LaunchFlashInfer128(const AttentionWork& work, cudaStream_t stream) {
  return paged::LaunchFlashInfer<128>(work, stream);
}

}  // namespace weft::ops::cuda
