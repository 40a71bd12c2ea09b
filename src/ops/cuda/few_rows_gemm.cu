#include "ops/cuda/few_rows_gemm.h"
#include "ops/cuda/few_rows_product.cuh"

namespace weft::ops::cuda {
namespace {

/// What the barriers leave.
constexpr int kRingBytes = (kHopperShared - kBoxAlignment) / kBoxAlignment * kBoxAlignment;
using Shared = ProductShared<kRingBytes>;
static_assert(sizeof(Shared) <= kHopperShared);

template <int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, 1)
    FewRowsGemm(const __grid_constant__ FewRowsParams params) {
#if __CUDA_ARCH__ >= 900  // Elsewhere FewRowsServes is false.
  using Product = FewRowsProduct<kRowTiles, kRingBytes>;
  extern __shared__ __align__(kBoxAlignment) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    if (SharedAddress(memory) % kBoxAlignment != 0) __trap();
    Product::InitBarriers(params.plan, shared);
    BarriersAreReady();
  }
  __syncthreads();
  Product(params, shared, static_cast<int>(threadIdx.x)).Run();
#endif
}

template <int kRowTiles>
cudaError_t Prepare() {
  return cudaFuncSetAttribute(FewRowsGemm<kRowTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(Shared));
}

template <int kRowTiles>
cudaError_t Launch(const GemmParams& params, int32_t multiprocessors, cudaStream_t stream) {
  return LaunchOverlapped(FewRowsGemm<kRowTiles>, dim3(static_cast<unsigned>(multiprocessors)),
                          dim3(kProductThreads), sizeof(Shared), stream,
                          DescribeFewRows(params, multiprocessors, kRingBytes));
}

}  // namespace

cudaError_t PrepareFewRowsGemm(int32_t shared_limit) {
  if (shared_limit < kHopperShared) return cudaSuccess;
  for (const cudaError_t error :
       {FindTensorMaps(), Prepare<1>(), Prepare<2>(), Prepare<3>(), Prepare<4>()})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

cudaError_t LaunchFewRowsGemm(const GemmParams& params, int32_t multiprocessors,
                              cudaStream_t stream) {
  return WithRowTiles(params.rows, [&](auto tiles) {
    return Launch<decltype(tiles)::value>(params, multiprocessors, stream);
  });
}

}  // namespace weft::ops::cuda
