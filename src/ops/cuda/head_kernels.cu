#include <cstddef>

#include "ops/cuda/elements.cuh"
#include "ops/cuda/head_kernels.h"
#include "ops/cuda/overlapped_launch.cuh"

namespace weft::ops::cuda {
namespace {

constexpr int kWarps = 4;                 ///< Heads of a block.
constexpr int kMostPairs = 256 / 2 / 32;  ///< Of a lane: dimension d and d + head_dim / 2.

__global__ void RopeRows(const float* frequencies, const int32_t* positions, float* rope,
                         int32_t half) {
  float* row = rope + int64_t{blockIdx.x} * 2 * half;
  const auto position = static_cast<float>(positions[blockIdx.x]);
  for (int i = static_cast<int>(threadIdx.x); i < half; i += static_cast<int>(blockDim.x)) {
    float sine = 0.0F;
    float cosine = 0.0F;
    sincosf(position * frequencies[i], &sine, &cosine);
    row[i] = cosine;
    row[half + i] = sine;
  }
}

/// A head in the registers of a warp: lane l holds dimensions l, l + 32, ... of either half.
struct Head {
  float low[kMostPairs];
  float high[kMostPairs];
};

template <typename Body>
__device__ void ForPairs(int half, Body body) {
#pragma unroll
  for (int p = 0; p < kMostPairs; ++p) {
    const int d = static_cast<int>(threadIdx.x) + p * 32;
    if (d < half) body(p, d);
  }
}

__device__ void Norm(Head& head, const float* weight, int half, float epsilon) {
  float sum = 0.0F;
  ForPairs(half,
           [&](int p, int) { sum += head.low[p] * head.low[p] + head.high[p] * head.high[p]; });
  const float inverse = 1.0F / sqrtf(SumOfWarp(sum) / static_cast<float>(2 * half) + epsilon);
  ForPairs(half, [&](int p, int d) {
    head.low[p] *= inverse * weight[d];
    head.high[p] *= inverse * weight[half + d];
  });
}

__device__ void Rotate(Head& head, const float* rope, int half) {
  ForPairs(half, [&](int p, int d) {
    const float low = head.low[p];
    const float high = head.high[p];
    head.low[p] = low * rope[d] - high * rope[half + d];
    head.high[p] = high * rope[d] + low * rope[half + d];
  });
}

/// Where a head of a row goes.
template <typename T>
__device__ T* Target(const FinishHeadsParams& params, int row, int head, bool is_v) {
  if (head < params.heads)
    return static_cast<T*>(params.queries) + (int64_t{row} * params.heads + head) * params.head_dim;
  const int kv_head = (head - params.heads) % params.kv_heads;
  const int slot = params.slots[row];
  std::byte* page = params.arena + slot / params.tokens_per_page * params.page_bytes;
  T* region = reinterpret_cast<T*>(page + (is_v ? params.v_offset : params.k_offset));
  return region + (int64_t{kv_head} * params.tokens_per_page + slot % params.tokens_per_page) *
                      params.head_dim;
}

template <typename T>
__global__ void __launch_bounds__(kWarps * 32) FinishHeads(FinishHeadsParams params) {
  const int row = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y * kWarps + threadIdx.y);
  const int all = params.heads + 2 * params.kv_heads;
  AdmitKernelBehind();
  AwaitKernelBefore();
  if (head >= all) return;
  const bool is_q = head < params.heads;
  const bool is_v = head >= params.heads + params.kv_heads;
  const int half = params.head_dim / 2;
  const int64_t first = (int64_t{row} * all + head) * params.head_dim;
  const T* from = static_cast<const T*>(params.qkv) + first;
  Head values;
  ForPairs(half, [&](int p, int d) {
    values.low[p] = ToFloat(from[d]);
    values.high[p] = ToFloat(from[half + d]);
  });
  if (params.delta != nullptr) {
    const T* delta = static_cast<const T*>(params.delta) + first;
    ForPairs(half, [&](int p, int d) {
      values.low[p] += ToFloat(delta[d]);
      values.high[p] += ToFloat(delta[half + d]);
    });
  }
  const float* bias = is_q ? params.q_bias : is_v ? params.v_bias : params.k_bias;
  if (bias != nullptr) {
    bias += (is_q ? head : (head - params.heads) % params.kv_heads) * params.head_dim;
    ForPairs(half, [&](int p, int d) {
      values.low[p] += bias[d];
      values.high[p] += bias[half + d];
    });
  }
  const float* norm = is_q ? params.q_norm : params.k_norm;
  if (!is_v && norm != nullptr) Norm(values, norm, half, params.epsilon);
  if (!is_v && params.rope != nullptr)
    Rotate(values, params.rope + int64_t{row} * params.head_dim, half);
  T* to = Target<T>(params, row, head, is_v);
  ForPairs(half, [&](int p, int d) {
    to[d] = FromFloat<T>(values.low[p]);
    to[half + d] = FromFloat<T>(values.high[p]);
  });
}

}  // namespace

void LaunchRopeRows(const RopeRowsParams& params, cudaStream_t stream) {
  RopeRows<<<static_cast<unsigned>(params.rows), 64, 0, stream>>>(
      params.frequencies, params.positions, params.rope, params.head_dim / 2);
}

void LaunchFinishHeads(const FinishHeadsParams& params, cudaStream_t stream) {
  const int all = params.heads + 2 * params.kv_heads;
  const dim3 grid(static_cast<unsigned>(params.rows),
                  static_cast<unsigned>((all + kWarps - 1) / kWarps));
  const dim3 block(32, kWarps);
  WithElement(params.dtype, [&](auto element) {
    LaunchOverlapped(FinishHeads<decltype(element)>, grid, block, 0, stream, params);
  });
}

}  // namespace weft::ops::cuda
