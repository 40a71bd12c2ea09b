#include <cuda_bf16.h>

#include "ops/cuda/plain_attention.h"

namespace weft::ops::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kLanes = 32;
constexpr int kThreads = kWarps * kLanes;
/// Tokens of KV that a block looks at together: one a lane.
constexpr int kTokens = 32;
constexpr int kMaxHeadDim = 256;
constexpr int kOutsPerLane = kMaxHeadDim / kLanes;
constexpr float kLog2E = 1.44269504088896341F;
constexpr float kMinusInfinity = -__builtin_inff();

/// What a warp carries for one query through its chunk of tokens.
struct State {
  float max = kMinusInfinity;  ///< Of scores in units of log2.
  float sum = 0.0F;
  float out[kOutsPerLane] = {};
};

__device__ float WarpMax(float x) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, offset));
  return x;
}

__device__ float WarpSum(float x) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

/// Tokens [first, first + kTokens) of one kv head as floats; those at or past `end` are zero. A row
/// of K has one float more, so that lanes reading a column meet different banks.
__device__ void LoadTokens(const AttentionWork& work, int sequence, int kv_head, int first, int end,
                           float* keys, float* values) {
  const int dims = work.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * dims; i += kThreads) {
    const int token = first + i / dims;
    const int d = i % dims;
    float k = 0.0F;
    float v = 0.0F;
    if (token < end) {
      const int32_t page = work.pages[work.page_begin[sequence] + token / work.tokens_per_page];
      const int64_t at =
          page * work.page_stride +
          (int64_t{kv_head} * work.tokens_per_page + token % work.tokens_per_page) * dims + d;
      k = __bfloat162float(static_cast<const __nv_bfloat16*>(work.keys)[at]);
      v = __bfloat162float(static_cast<const __nv_bfloat16*>(work.values)[at]);
    }
    keys[i / dims * (dims + 1) + d] = k;
    values[i] = v;
  }
}

__device__ void Update(const AttentionWork& work, const float* query, const float* keys,
                       const float* values, bool visible, State& state) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float score = 0.0F;
  for (int d = 0; d < work.head_dim; ++d) score += query[d] * keys[lane * (work.head_dim + 1) + d];
  score = visible ? score * work.scale * kLog2E : kMinusInfinity;
  const float max = fmaxf(state.max, WarpMax(score));
  if (max == kMinusInfinity) return;
  const float correction = exp2f(state.max - max);
  const float weight = exp2f(score - max);
  state.max = max;
  state.sum = state.sum * correction + WarpSum(weight);
#pragma unroll
  for (float& out : state.out) out *= correction;
  for (int token = 0; token < kTokens; ++token) {
    const float w = __shfl_sync(0xffffffffU, weight, token);
#pragma unroll
    for (int i = 0; i < kOutsPerLane; ++i) {
      const int d = lane + i * kLanes;
      if (d < work.head_dim) state.out[i] += w * values[token * work.head_dim + d];
    }
  }
}

__device__ void Write(const AttentionWork& work, int sequence, int row, int head, int part,
                      const State& state) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const float inverse = state.sum > 0.0F ? 1.0F / state.sum : 0.0F;
  int64_t target = work.partial_begin[sequence] + row;
  if (work.split) {
    const int chunks = (work.kv_length[sequence] + *work.chunk - 1) / *work.chunk;
    target = work.partial_begin[sequence] + int64_t{row} * chunks + part;
    if (lane == 0) work.partial_log2[target * work.heads + head] = state.max + log2f(state.sum);
  }
  const int64_t at = (target * work.heads + head) * work.head_dim;
#pragma unroll
  for (int i = 0; i < kOutsPerLane; ++i) {
    const int d = lane + i * kLanes;
    if (d >= work.head_dim) continue;
    if (work.split)
      work.partial[at + d] = state.out[i] * inverse;
    else
      static_cast<__nv_bfloat16*>(work.out)[at + d] = __float2bfloat16(state.out[i] * inverse);
  }
}

/// A block takes a tile's queries kWarps at a time, each warp one query, and reads its chunk anew
/// for each eight of them.
__global__ void __launch_bounds__(kThreads) PlainAttention(const AttentionWork work) {
  extern __shared__ float shared[];
  const int item = static_cast<int>(blockIdx.x);
  if (!work.item_valid[item]) return;
  float* keys = shared;
  float* values = keys + kTokens * (work.head_dim + 1);
  float* queries = values + kTokens * work.head_dim;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int group = work.heads / work.kv_heads;
  const int sequence = work.item_sequence[item];
  const int rows = work.row_count[sequence];
  const int length = work.kv_length[sequence];
  const int begin = work.split ? work.item_chunk[item] * *work.chunk : 0;
  const int end = work.split ? min(begin + *work.chunk, length) : length;
  const int first = work.item_tile[item] * work.tile_rows;
  const int last = min(first + work.tile_rows, rows * group);
  for (int packed = first; packed < last; packed += kWarps) {
    const int query = packed + warp;
    const bool mine = query < last;
    const int row = query / group;
    const int head = kv_head * group + query % group;
    if (mine) {
      const int64_t at =
          (int64_t{work.first_row[sequence] + row} * work.heads + head) * work.head_dim;
      for (int d = lane; d < work.head_dim; d += kLanes)
        queries[warp * work.head_dim + d] =
            __bfloat162float(static_cast<const __nv_bfloat16*>(work.queries)[at + d]);
    }
    const int visible = length - rows + row + 1;
    const int furthest = min(end, length - rows + min((packed + kWarps - 1) / group, rows - 1) + 1);
    State state;
    for (int token = begin; token < furthest; token += kTokens) {
      __syncthreads();
      LoadTokens(work, sequence, kv_head, token, end, keys, values);
      __syncthreads();
      if (mine)
        Update(work, queries + warp * work.head_dim, keys, values, token + lane < min(visible, end),
               state);
    }
    if (mine) Write(work, sequence, row, head, work.item_chunk[item], state);
    __syncthreads();
  }
}

constexpr size_t SharedBytes(int head_dim) {
  return static_cast<size_t>(kTokens * (2 * head_dim + 1) + kWarps * head_dim) * sizeof(float);
}

}  // namespace

cudaError_t PreparePlainAttention() {
  return cudaFuncSetAttribute(PlainAttention, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(SharedBytes(kMaxHeadDim)));
}

cudaError_t LaunchPlainAttention(const AttentionWork& work, cudaStream_t stream) {
  const size_t shared = SharedBytes(work.head_dim);
  const dim3 grid(static_cast<uint32_t>(work.items), static_cast<uint32_t>(work.kv_heads));
  PlainAttention<<<grid, kThreads, shared, stream>>>(work);
  return cudaGetLastError();
}

}  // namespace weft::ops::cuda
