#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/elements.cuh"
#include "ops/cuda/overlapped_launch.cuh"
#include "ops/cuda/read_once.cuh"
#include "ops/cuda/skinny_gemm.h"
#include "ops/cuda/tensor_core.cuh"

namespace weft::ops::cuda {
namespace {

// A block computes 16 outputs of all rows. Its warps take groups of `in` in turn. In a group, lane
// l holds eight neighbouring elements of outputs l / 4 and l / 4 + 8 from each chunk of 32: the
// matrix unit does not care which elements of the sum it meets first, so what a lane loads at once
// serves as two of its operands as they are.
constexpr int kOutputs = 16;
constexpr int kWarps = 8;
constexpr int kChunk = 32;
constexpr int kChunks = 4;  ///< Of a group: 256 bytes of each output's weights.
constexpr int kGroup = kChunk * kChunks;
constexpr int kTileRows = 8;  ///< Rows of the matrix unit's other operand.

struct SkinnyParams {
  const __nv_bfloat16* weight = nullptr;
  const __nv_bfloat16* h = nullptr;
  const void* c = nullptr;
  void* d = nullptr;
  int32_t rows = 0;
  int32_t in = 0;
  int64_t h_stride = 0;
  int64_t d_stride = 0;
};

/// A lane's weights of a group.
struct Weights {
  uint4 low[kChunks];   ///< Output lane / 4.
  uint4 high[kChunks];  ///< Output lane / 4 + 8.
};

__device__ inline uint4 LoadOnce(const __nv_bfloat16* from) {
  uint4 value;
  asm volatile(
      "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(from), "l"(ReadOnce()));
  return value;
}

__device__ inline void Load(const __nv_bfloat16* low, int64_t eight_outputs, int group,
                            Weights& weights) {
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const __nv_bfloat16* from = low + group * kGroup + i * kChunk;
    weights.low[i] = LoadOnce(from);
    weights.high[i] = LoadOnce(from + eight_outputs);
  }
}

template <int kTiles>
__device__ inline void MultiplyGroup(const SkinnyParams& params, const Weights& weights, int group,
                                     float (&sums)[kTiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < kChunks; ++i)
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int row = tile * kTileRows + lane / 4;
      uint4 h = make_uint4(0, 0, 0, 0);
      if (row < params.rows)
        h = *reinterpret_cast<const uint4*>(params.h + row * params.h_stride + group * kGroup +
                                            i * kChunk + lane % 4 * 8);
      Multiply(sums[tile], weights.low[i].x, weights.high[i].x, weights.low[i].y, weights.high[i].y,
               h.x, h.y);
      Multiply(sums[tile], weights.low[i].z, weights.high[i].z, weights.low[i].w, weights.high[i].w,
               h.z, h.w);
    }
}

template <typename Out, int kTiles>
__global__ void __launch_bounds__(kWarps * 32, 2) SkinnyGemm(const SkinnyParams params) {
  __shared__ float shared[kWarps][kTiles * kTileRows][kOutputs + 1];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(blockIdx.x) * kOutputs;
  const int groups = params.in / kGroup;
  const int64_t eight_outputs = int64_t{8} * params.in;
  const __nv_bfloat16* low = params.weight + int64_t{first + lane / 4} * params.in + lane % 4 * 8;
  Weights current;
  Weights next;
  if (warp < groups) Load(low, eight_outputs, warp, current);
  AwaitKernelBefore();
  AdmitKernelBehind();
  float sums[kTiles][4] = {};
  for (int group = warp; group < groups; group += 2 * kWarps) {
    if (group + kWarps < groups) Load(low, eight_outputs, group + kWarps, next);
    MultiplyGroup(params, current, group, sums);
    if (group + kWarps >= groups) break;
    if (group + 2 * kWarps < groups) Load(low, eight_outputs, group + 2 * kWarps, current);
    MultiplyGroup(params, next, group + kWarps, sums);
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      shared[warp][tile * kTileRows + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sums[tile][i];
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x) / kOutputs;
  const int output = static_cast<int>(threadIdx.x) % kOutputs;
  if (row >= params.rows) return;
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += shared[i][row][output];
  const int64_t at = row * params.d_stride + first + output;
  if (params.c != nullptr) sum += ToFloat(static_cast<const Out*>(params.c)[at]);
  static_cast<Out*>(params.d)[at] = FromFloat<Out>(sum);
}

template <typename Out>
cudaError_t Launch(const SkinnyParams& params, int32_t out, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(out / kOutputs));
  const dim3 block(kWarps * 32);
  return params.rows <= kTileRows
             ? LaunchOverlapped(SkinnyGemm<Out, 1>, grid, block, 0, stream, params)
             : LaunchOverlapped(SkinnyGemm<Out, 2>, grid, block, 0, stream, params);
}

}  // namespace

bool SkinnyGemmServes(const GemmParams& params) {
  return params.dtype == DType::kBFloat16 && params.rows <= 2 * kTileRows &&
         params.out % kOutputs == 0 && params.in % kGroup == 0 && params.h_stride % 8 == 0;
}

cudaError_t LaunchSkinnyGemm(const GemmParams& params, cudaStream_t stream) {
  SkinnyParams skinny;
  skinny.weight = static_cast<const __nv_bfloat16*>(params.weight);
  skinny.h = static_cast<const __nv_bfloat16*>(params.h);
  skinny.c = params.c;
  skinny.d = params.d;
  skinny.rows = params.rows;
  skinny.in = params.in;
  skinny.h_stride = params.h_stride;
  skinny.d_stride = params.d_stride;
  return params.out_dtype == DType::kFloat32 ? Launch<float>(skinny, params.out, stream)
                                             : Launch<__nv_bfloat16>(skinny, params.out, stream);
}

}  // namespace weft::ops::cuda
