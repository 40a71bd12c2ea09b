#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

template <int kStages>
__global__ void __launch_bounds__(kDecodeThreads, 2)
    LoraDecode(const __grid_constant__ LoraParams params) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<DecodeShared<kStages>*>(memory);
  if (threadIdx.x == 0) {
    InitBarriers(shared);
    BarriersAreReady();
  }
  __syncthreads();
  RunDecode(params, shared);
}

template <int kStages>
cudaError_t Prepare() {
  return cudaFuncSetAttribute(LoraDecode<kStages>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(DecodeShared<kStages>));
}

template <int kStages>
void Launch(const LoraParams& params, cudaStream_t stream) {
  LaunchKernel(LoraDecode<kStages>, params, LoraWork::kDecodeShrink, kDecodeThreads,
               sizeof(DecodeShared<kStages>), stream);
}

bool HasRoom(int32_t shared_limit) {
  return sizeof(DecodeShared<kRingStages>) <= static_cast<size_t>(shared_limit);
}

}  // namespace

cudaError_t PrepareDecode(int32_t shared_limit) {
  return HasRoom(shared_limit) ? Prepare<kRingStages>() : Prepare<kFewRingStages>();
}

void LaunchDecode(const LoraParams& params, cudaStream_t stream) {
  if (HasRoom(params.shared_limit))
    Launch<kRingStages>(params, stream);
  else
    Launch<kFewRingStages>(params, stream);
}

}  // namespace weft::ops::cuda
