#include <algorithm>

#include "ops/cuda/transfer_kernels.h"

namespace weft::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksOfAPiece = 8;
constexpr int64_t kUnit = sizeof(uint4);

__global__ void Transfer(const __grid_constant__ TransferParams params) {
  const int64_t offset = params.offsets[blockIdx.y];
  const int64_t count = (params.bytes[blockIdx.y] + kUnit - 1) / kUnit;
  const auto* from = reinterpret_cast<const uint4*>(params.from + offset);
  auto* to = reinterpret_cast<uint4*>(params.to + offset);
  constexpr int64_t kStride = int64_t{kBlocksOfAPiece} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += kStride)
    to[i] = from[i];
}

}  // namespace

void LaunchTransfer(const TransferParams& params, cudaStream_t stream) {
  if (params.pieces == 0) return;
  const dim3 grid(kBlocksOfAPiece, static_cast<unsigned>(params.pieces));
  Transfer<<<grid, kThreads, 0, stream>>>(params);
}

}  // namespace weft::ops::cuda
