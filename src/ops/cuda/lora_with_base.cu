#include "ops/cuda/few_rows_product.cuh"
#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_with_base.h"
#include "ops/cuda/tensor_map.h"

namespace weft::ops::cuda {
namespace {

constexpr int kThreads = kDecodeThreads + kProductThreads;

/// What adapters leave, less what the product's barriers take.
template <int kAdapterStages>
constexpr int kRingBytes = (kHopperShared - static_cast<int>(sizeof(DecodeShared<kAdapterStages>)) -
                            kBoxAlignment) /
                           kBoxAlignment* kBoxAlignment;

/// The adapters' stages. Where a block has few outputs of the product, what it waits for is the
/// shrink's end, and the more of the shrink's weights are there when it may begin the sooner that
/// is. Where it has many, the product's stages are large, and it needs three of them.
constexpr int kStagesBesideFewOuts = kRingStages + 1;
constexpr int kStagesBesideManyOuts = kRingStages;

template <int kAdapterStages>
struct BothShared {
  ProductShared<kRingBytes<kAdapterStages>> product;
  DecodeShared<kAdapterStages> adapters;
};

template <int kRowTiles, int kAdapterStages>
__global__ void __launch_bounds__(kThreads, 1)
    LoraWithBase(const __grid_constant__ LoraParams params,
                 const __grid_constant__ FewRowsParams base) {
#if __CUDA_ARCH__ >= 900  // Elsewhere FewRowsServes is false.
  using Product = FewRowsProduct<kRowTiles, kRingBytes<kAdapterStages>>;
  using Shared = BothShared<kAdapterStages>;
  static_assert(sizeof(Shared) <= kHopperShared);
  extern __shared__ __align__(kBoxAlignment) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
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

template <int kRowTiles, int kAdapterStages>
cudaError_t PrepareOne() {
  return cudaFuncSetAttribute(LoraWithBase<kRowTiles, kAdapterStages>,
                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(BothShared<kAdapterStages>));
}

template <int kRowTiles>
cudaError_t Prepare() {
  const cudaError_t error = PrepareOne<kRowTiles, kStagesBesideFewOuts>();
  return error != cudaSuccess ? error : PrepareOne<kRowTiles, kStagesBesideManyOuts>();
}

template <int kRowTiles, int kAdapterStages>
void Launch(const LoraParams& params, int blocks, cudaStream_t stream) {
  LaunchKernel(LoraWithBase<kRowTiles, kAdapterStages>, params, LoraWork::kDecodeShrink, kThreads,
               sizeof(BothShared<kAdapterStages>), stream,
               DescribeFewRows(params.base, blocks, kRingBytes<kAdapterStages>));
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
  const int blocks = LoraBlocks(LoraWork::kDecodeShrink, params.multiprocessors);
  WithRowTiles(params.base.rows, [&](auto tiles) {
    constexpr int kRowTiles = decltype(tiles)::value;
    if (TakesUnitsInTurns(params.base, blocks))
      Launch<kRowTiles, kStagesBesideFewOuts>(params, blocks, stream);
    else
      Launch<kRowTiles, kStagesBesideManyOuts>(params, blocks, stream);
  });
}

}  // namespace weft::ops::cuda
