#include "ops/cuda/step_slot.h"

namespace weft::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 16;
constexpr int kUnit = sizeof(uint4);

__global__ void __launch_bounds__(kThreads) Upload(const std::byte* slot, std::byte* place) {
  __shared__ int32_t table[kMaxSegments * 2];
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread < kMaxSegments * 2) table[thread] = reinterpret_cast<const int32_t*>(slot)[thread];
  __syncthreads();
  for (int s = 0; s < kMaxSegments; ++s) {
    const int units = (table[2 * s + 1] + kUnit - 1) / kUnit;
    const auto* from = reinterpret_cast<const uint4*>(slot + table[2 * s]);
    auto* to = reinterpret_cast<uint4*>(place + table[2 * s]);
    for (int i = static_cast<int>(blockIdx.x) * kThreads + thread; i < units;
         i += kBlocks * kThreads)
      to[i] = from[i];
  }
}

}  // namespace

cudaError_t LaunchSlotUpload(const std::byte* slot, std::byte* place, cudaStream_t stream) {
  Upload<<<kBlocks, kThreads, 0, stream>>>(slot, place);
  return cudaGetLastError();
}

}  // namespace weft::ops::cuda
