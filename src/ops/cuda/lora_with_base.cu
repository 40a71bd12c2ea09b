#include "ops/cuda/few_rows_product.cuh"
#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_with_base.h"
#include "ops/cuda/tensor_map.h"

namespace weft::ops::cuda {
namespace {

constexpr int kThreads = kDecodeThreads + kProductThreads;
/// What adapters leave, less what the product's barriers take.
constexpr int kRingBytes =
    (kHopperShared - static_cast<int>(sizeof(DecodeShared<kRingStages>)) - kBoxAlignment) /
    kBoxAlignment * kBoxAlignment;

struct BothShared {
  ProductShared<kRingBytes> product;
  DecodeShared<kRingStages> adapters;
};
static_assert(sizeof(BothShared) <= kHopperShared);

template <int kRowTiles>
__global__ void __launch_bounds__(kThreads, 1)
    LoraWithBase(const __grid_constant__ LoraParams params,
                 const __grid_constant__ FewRowsParams base) {
#if __CUDA_ARCH__ >= 900  // Elsewhere FewRowsServes is false.
  using Product = FewRowsProduct<kRowTiles, kRingBytes>;
  extern __shared__ __align__(kBoxAlignment) std::byte memory[];
  auto& shared = *reinterpret_cast<BothShared*>(memory);
  if (threadIdx.x == 0) {
    if (SharedAddress(memory) % kBoxAlignment != 0) __trap();
    Product::InitBarriers(base.plan, shared.product);
    InitBarriers(shared.adapters);
    BarriersAreReady();
  }
  __syncthreads();
  if (threadIdx.x < kDecodeThreads) {
    RunDecode(params, shared.adapters);
    return;
  }
  Product(base, shared.product, static_cast<int>(threadIdx.x) - kDecodeThreads).Run();
#endif
}

template <int kRowTiles>
cudaError_t Prepare() {
  return cudaFuncSetAttribute(LoraWithBase<kRowTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(BothShared));
}

template <int kRowTiles>
void Launch(const LoraParams& params, cudaStream_t stream) {
  const int blocks = LoraBlocks(LoraWork::kDecodeShrink, params.multiprocessors);
  LaunchKernel(LoraWithBase<kRowTiles>, params, LoraWork::kDecodeShrink, kThreads,
               sizeof(BothShared), stream, DescribeFewRows(params.base, blocks, kRingBytes));
}

}  // namespace

cudaError_t PrepareWithBase(int32_t shared_limit) {
  if (shared_limit < kHopperShared) return cudaSuccess;
  for (const cudaError_t error :
       {FindTensorMaps(), Prepare<1>(), Prepare<2>(), Prepare<3>(), Prepare<4>()})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

void LaunchWithBase(const LoraParams& params, cudaStream_t stream) {
  WEFT_CHECK(params.base.rows <= kMostFewRows);
  WithRowTiles(params.base.rows,
               [&](auto tiles) { Launch<decltype(tiles)::value>(params, stream); });
}

}  // namespace weft::ops::cuda
