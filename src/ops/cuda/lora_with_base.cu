#include "ops/cuda/lora_base_product.cuh"
#include "ops/cuda/lora_decode_block.cuh"
#include "ops/cuda/lora_launch.cuh"
#include "ops/cuda/lora_with_base.h"

namespace weft::ops::cuda {
namespace {

/// Of a multiprocessor, what a block may ask for; of the GPUs that we build for, Hopper alone has
/// so much.
constexpr int32_t kSharedLimit = 227 * 1024;
/// The largest weight for which more than 8 rows are taken. On an H200 16 rows come here at 3.25
/// TB/s of weights, adapters' among them: 95 us for the 310 MB of Llama-3.1-8B's gate and up with 8
/// adapters of rank 128, which the library's product and the adapters' kernel do in 83 beside each
/// other. The other operators, of half as much and less, take as long or shorter here.
constexpr int64_t kLargestWeight = int64_t{128} << 20;

using FewRows = BaseProduct<1, 1>;
using MoreRows = BaseProduct<1, 2>;
using MoreRowsWide = BaseProduct<2, 2>;

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
    BarriersAreReady();
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

/// Wide tiles read h half as often, in shorter pieces of weights: that pays with more than 8 rows
/// (7.39 against 7.63 ms a step of 16 rows with 8 adapters of rank 128 on an H200), and costs with
/// fewer (4.95 against 4.81 ms, 1 row with 1 adapter). Narrow ones may be shared out more evenly.
bool WantsWide(const LoraParams& params) {
  constexpr int kWide = MoreRowsWide::kOuts;
  return params.base.out % kWide == 0 &&
         LongestShare(params, kWide) <= LongestShare(params, MoreRows::kOuts);
}

}  // namespace

bool RunsWithLora(const GemmParams& product, int32_t shared_limit) {
  const int64_t bytes = int64_t{product.out} * product.in * SizeOf(DType::kBFloat16);
  return shared_limit >= kSharedLimit && product.dtype == DType::kBFloat16 &&
         product.rows <= kMostBaseRows &&
         (product.rows <= kBaseRowTile || bytes <= kLargestWeight) &&
         product.out % FewRows::kOuts == 0 && product.in % kBaseChunk == 0 &&
         product.h_stride % kVector == 0;
}

cudaError_t PrepareWithBase(int32_t shared_limit) {
  if (shared_limit < kSharedLimit) return cudaSuccess;
  for (const cudaError_t error : {Prepare<FewRows>(), Prepare<MoreRows>(), Prepare<MoreRowsWide>()})
    if (error != cudaSuccess) return error;
  return cudaSuccess;
}

void LaunchWithBase(const LoraParams& params, cudaStream_t stream) {
  if (params.base.rows <= kBaseRowTile)
    LaunchWith<FewRows>(params, stream);
  else if (WantsWide(params))
    LaunchWith<MoreRowsWide>(params, stream);
  else
    LaunchWith<MoreRows>(params, stream);
}

}  // namespace weft::ops::cuda
