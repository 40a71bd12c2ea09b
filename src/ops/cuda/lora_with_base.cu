#include "ops/cuda/lora_base_product.cuh"
#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_with_base.h"

namespace weft::ops::cuda {
namespace {

/// Of a multiprocessor, what a block may ask for; Hopper's alone has so much.
constexpr int32_t kSharedLimit = 227 * 1024;
/// The largest weight for which more than 8 rows are taken. On an H200 16 rows come here at 3.25
/// TB/s of weights, adapters' among them: 95 us for the 310 MB of Llama-3.1-8B's gate and up with 8
/// adapters of rank 128, which the library's product and the adapters' kernel do in 83 beside each
/// other. The other operators, of half as much and less, take as long or shorter here.
constexpr int64_t kLargestWeight = int64_t{128} << 20;

constexpr int kThreads = kDecodeThreads + kBaseThreads;

template <class Product>
struct BothShared {
  DecodeShared<kRingStages> adapters;
  typename Product::Shared product;
};

template <class Product>
__global__ void __launch_bounds__(kThreads, 1)
    LoraWithBase(const __grid_constant__ LoraParams params) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<BothShared<Product>*>(memory);
  static_assert(sizeof shared <= kSharedLimit);
  if (threadIdx.x == 0) {
    Product::InitBarriers(shared.product);
    InitBarriers(shared.adapters);
  }
  __syncthreads();
  if (threadIdx.x < kDecodeThreads) {
    RunDecode(params, shared.adapters);
    return;
  }
  Product(params.base, shared.product, static_cast<int>(threadIdx.x) - kDecodeThreads).Run();
}

template <class Product>
cudaError_t Prepare() {
  return cudaFuncSetAttribute(LoraWithBase<Product>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(BothShared<Product>));
}

/// What a block at most computes, in outputs.
int LongestShare(const LoraParams& params, int outs) {
  const int tiles = params.base.out / outs;
  const int blocks = LoraBlocks(LoraWork::kDecodeShrink, params.multiprocessors);
  return (tiles + blocks - 1) / blocks * outs;
}

template <class Product>
void LaunchWith(const LoraParams& params, cudaStream_t stream) {
  LaunchKernel(LoraWithBase<Product>, params, LoraWork::kDecodeShrink, kThreads,
               sizeof(BothShared<Product>), stream);
}

/// Wide tiles read h half as often; narrow ones may be shared out more evenly.
template <int kRowTiles>
void LaunchRows(const LoraParams& params, cudaStream_t stream) {
  using Wide = BaseProduct<2, kRowTiles>;
  using Narrow = BaseProduct<1, kRowTiles>;
  const bool wide = params.base.out % Wide::kOuts == 0 &&
                    LongestShare(params, Wide::kOuts) <= LongestShare(params, Narrow::kOuts);
  if (wide)
    LaunchWith<Wide>(params, stream);
  else
    LaunchWith<Narrow>(params, stream);
}

}  // namespace

bool RunsWithLora(const GemmParams& product, int32_t shared_limit) {
  const int64_t bytes = int64_t{product.out} * product.in * SizeOf(DType::kBFloat16);
  return shared_limit >= kSharedLimit && product.dtype == DType::kBFloat16 &&
         product.rows <= kMostBaseRows &&
         (product.rows <= kBaseRowTile || bytes <= kLargestWeight) && product.out % 16 == 0 &&
         product.in % kBaseChunk == 0 && product.h_stride % kVector == 0;
}

cudaError_t PrepareWithBase(int32_t shared_limit) {
  if (shared_limit < kSharedLimit) return cudaSuccess;
  for (const cudaError_t error : {Prepare<BaseProduct<1, 1>>(), Prepare<BaseProduct<1, 2>>(),
                                  Prepare<BaseProduct<2, 1>>(), Prepare<BaseProduct<2, 2>>()})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

void LaunchWithBase(const LoraParams& params, cudaStream_t stream) {
  if (params.base.rows <= kBaseRowTile)
    LaunchRows<1>(params, stream);
  else
    LaunchRows<2>(params, stream);
}

}  // namespace weft::ops::cuda
