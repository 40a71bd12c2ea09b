#include "ops/cuda/decode_attention.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "ops/cuda/decode_attention_tiles.cuh"
#include "ops/cuda/overlapped_launch.cuh"

namespace weft::ops::cuda::decoding {
namespace {

/// Bytes of shared memory that a block takes besides: the system's, and the kernel's fixed ones.
constexpr int kBesides = 2048;

/// The warps' states, side by side in shared memory.
template <int kHeadDim, int kWarps>
struct Shared {
  float out[kWarps][kQueries][kHeadDim];
  float max[kWarps][kQueries];
  float sum[kWarps][kQueries];
};

template <int kHeadDim, int kWarps>
__device__ void Share(const State<kHeadDim>& state, Shared<kHeadDim, kWarps>& shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    float sum = state.sum[q];
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2)
      sum += __shfl_xor_sync(0xffffffffU, sum, offset);
    if (lane < 4) {
      shared.max[warp][lane * 2 + q] = state.max[q];
      shared.sum[warp][lane * 2 + q] = sum;
    }
  }
#pragma unroll
  for (int step = 0; step < kStepsOf<kHeadDim>; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      shared.out[warp][lane % 4 * 2 + i % 2][step * 16 + lane / 4 + i / 2 * 8] = state.out[step][i];
}

__device__ void StoreRounded(void* out, int64_t at, float4 x) {
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(static_cast<__nv_bfloat16*>(out) + at);
  pairs[0] = __floats2bfloat162_rn(x.x, x.y);
  pairs[1] = __floats2bfloat162_rn(x.z, x.w);
}

__device__ void Accumulate(float4& sum, float4 x, float weight) {
  sum.x = fmaf(x.x, weight, sum.x);
  sum.y = fmaf(x.y, weight, sum.y);
  sum.z = fmaf(x.z, weight, sum.z);
  sum.w = fmaf(x.w, weight, sum.w);
}

/// The part's result: to the output when it is the only one, else to its place among the parts.
template <int kHeadDim, int kWarps>
__device__ void WritePart(const AttentionWork& work, const Part& part, int kv_head,
                          const Shared<kHeadDim, kWarps>& shared) {
  constexpr int kQuads = kHeadDim / 4;
  const int group = work.heads / work.kv_heads;
  for (int i = static_cast<int>(threadIdx.x); i < group * kQuads;
       i += static_cast<int>(blockDim.x)) {
    const int q = i / kQuads;
    const int d = i % kQuads * 4;
    float max = -INFINITY;
    for (int w = 0; w < kWarps; ++w) max = fmaxf(max, shared.max[w][q]);
    float total = 0.0F;
    float4 sum = {};
    for (int w = 0; w < kWarps; ++w) {
      const float weight = max == -INFINITY ? 0.0F : Exp2(shared.max[w][q] - max);
      total += shared.sum[w][q] * weight;
      Accumulate(sum, *reinterpret_cast<const float4*>(&shared.out[w][q][d]), weight);
    }
    const float inverse = total > 0.0F ? 1.0F / total : 0.0F;
    sum = {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse};
    const int head = kv_head * group + q;
    if (part.count == 1) {
      StoreRounded(work.out,
                   (int64_t{work.first_row[part.sequence]} * work.heads + head) * kHeadDim + d,
                   sum);
      continue;
    }
    const int64_t at = int64_t{work.partial_begin[part.sequence] + part.index} * work.heads + head;
    *reinterpret_cast<float4*>(work.partial + at * kHeadDim + d) = sum;
    if (d == 0) work.partial_log2[at] = max + log2f(total);
  }
}

/// Of a row and kv head, by the block that ended last: parts in the order of their tokens.
template <int kHeadDim>
__device__ void MergeParts(const AttentionWork& work, const Part& part, int kv_head,
                           float* weights) {
  constexpr int kQuads = kHeadDim / 4;
  const int group = work.heads / work.kv_heads;
  const int64_t first = int64_t{work.partial_begin[part.sequence]} * work.heads + kv_head * group;
  for (int i = static_cast<int>(threadIdx.x); i < group * part.count;
       i += static_cast<int>(blockDim.x))
    weights[i] = __ldcg(work.partial_log2 + first + i / group * work.heads + i % group);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < group * kQuads;
       i += static_cast<int>(blockDim.x)) {
    const int q = i / kQuads;
    const int d = i % kQuads * 4;
    float max = -INFINITY;
    for (int p = 0; p < part.count; ++p) max = fmaxf(max, weights[p * group + q]);
    float total = 0.0F;
    float4 sum = {};
#pragma unroll 8
    for (int p = 0; p < part.count; ++p) {
      const float weight = Exp2(weights[p * group + q] - max);
      const float* from = work.partial + (first + int64_t{p} * work.heads + q) * kHeadDim + d;
      total += weight;
      Accumulate(sum, __ldcg(reinterpret_cast<const float4*>(from)), weight);
    }
    const float inverse = 1.0F / total;
    const int head = kv_head * group + q;
    StoreRounded(work.out,
                 (int64_t{work.first_row[part.sequence]} * work.heads + head) * kHeadDim + d,
                 {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse});
  }
}

/// Whether all other parts of the row and kv head are written, and visible to this block.
__device__ bool EndsLast(const AttentionWork& work, const Part& part, int kv_head) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    int32_t* counter = work.counters + part.sequence * work.kv_heads + kv_head;
    last = atomicAdd(counter, 1) == part.count - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  if (last) __threadfence();
  return last;
}

template <int kHeadDim, int kWarps>
constexpr size_t kBytes = kWarps* Shape<kHeadDim>::kWarpBytes;

template <int kHeadDim, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp, kWideWarps / kWarps)
    DecodeAttention(const __grid_constant__ DecodeParams params) {
  extern __shared__ __align__(kBoxAlignment) std::byte memory[];
  __shared__ uint64_t full[kWarps][kStages];
  if (SharedAddress(memory) % kBoxAlignment != 0) __trap();
  const AttentionWork& work = params.work;
  const auto item = static_cast<int>(blockIdx.x);
  const auto kv_head = static_cast<int>(blockIdx.y);
  const bool valid = work.item_valid[item];
  Part part;
  part.sequence = work.item_sequence[item];
  part.index = work.item_chunk[item];
  const int chunk = *work.chunk;
  const int length = work.kv_length[part.sequence];
  const int row = work.first_row[part.sequence];
  part.count = length <= chunk ? 1 : (length + chunk - 1) / chunk;
  part.begin = part.index * chunk;
  part.end = valid ? min(part.begin + chunk, length) : part.begin;
  Tiles<kHeadDim, kWarps> tiles(params, part, kv_head, SharedAddress(memory),
                                full[threadIdx.x / kWarp]);
  // The plan came with the step, before all of its products, and all tokens but the last with
  // earlier ones; queries and the last token's K and V did not.
  AdmitKernelBehind();
  tiles.BeginBefore(length - 1);
  AwaitKernelBefore();
  if (!valid) return;
  tiles.Begin();
  const int group = work.heads / work.kv_heads;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  uint32_t query[kStepsOf<kHeadDim>][2] = {};
  if (lane / 4 < group) {
    const auto* from = static_cast<const __nv_bfloat16*>(work.queries) +
                       (int64_t{row} * work.heads + kv_head * group + lane / 4) * kHeadDim +
                       lane % 4 * 2;
#pragma unroll
    for (int step = 0; step < kStepsOf<kHeadDim>; ++step) {
      query[step][0] = *reinterpret_cast<const uint32_t*>(from + step * 16);
      query[step][1] = *reinterpret_cast<const uint32_t*>(from + step * 16 + 8);
    }
  }
  State<kHeadDim> state;
  tiles.Use(query, state);
  __syncthreads();
  auto& shared = *reinterpret_cast<Shared<kHeadDim, kWarps>*>(memory);
  static_assert(sizeof(Shared<kHeadDim, kWarps>) <= kBytes<kHeadDim, kWarps>);
  static_assert(kMaxDecodeParts * kQueries * sizeof(float) <= kBytes<kHeadDim, kWarps>);
  Share(state, shared);
  __syncthreads();
  WritePart(work, part, kv_head, shared);
  if (part.count == 1 || !EndsLast(work, part, kv_head)) return;
  MergeParts<kHeadDim>(work, part, kv_head, reinterpret_cast<float*>(memory));
}

template <int kHeadDim, int kWarps>
cudaError_t Prepare() {
  return cudaFuncSetAttribute(DecodeAttention<kHeadDim, kWarps>,
                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kBytes<kHeadDim, kWarps>);
}

template <int kHeadDim, int kWarps>
cudaError_t Launch(const DecodeParams& params, cudaStream_t stream) {
  const AttentionWork& work = params.work;
  const dim3 grid(static_cast<uint32_t>(work.items), static_cast<uint32_t>(work.kv_heads));
  return LaunchAs(work.overlapped, DecodeAttention<kHeadDim, kWarps>, grid, dim3(kWarps * kWarp),
                  kBytes<kHeadDim, kWarps>, stream, params);
}

cudaError_t Describe(const AttentionWork& work, DecodeParams* params) {
  const int64_t of_page = work.page_stride / work.head_dim;
  const int64_t to_values = (static_cast<const __nv_bfloat16*>(work.values) -
                             static_cast<const __nv_bfloat16*>(work.keys)) /
                            work.head_dim;
  const int64_t all =
      (work.page_count - 1) * of_page + to_values + int64_t{work.kv_heads} * work.tokens_per_page;
  WEFT_CHECK(to_values > 0 && all <= std::numeric_limits<int32_t>::max());
  params->work = work;
  params->page_rows = static_cast<int32_t>(of_page);
  params->value_row = static_cast<int32_t>(to_values);
  int generation = 0;
  const cudaError_t error = FindGeneration(&generation);
  if (error == cudaSuccess && generation >= 9)
    params->rows =
        MakeTensorMap({work.keys, all, work.head_dim, work.head_dim, kTile, work.head_dim});
  return error;
}

template <int kHeadDim>
cudaError_t FindRoom(DecodeRoom* room) {
  int device = 0;
  int of_block = 0;
  int of_all = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&of_all, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  constexpr auto kNarrow = static_cast<int>(kBytes<kHeadDim, kNarrowWarps>) + kBesides;
  room->narrow_blocks = std::clamp(of_all / kNarrow, 1, kNarrowDecodeBlocks);
  room->wide = kBytes<kHeadDim, kWideWarps> <= static_cast<size_t>(of_block);
  return error;
}

template <int kHeadDim>
cudaError_t PrepareBoth() {
  DecodeRoom room;
  cudaError_t error = FindRoom<kHeadDim>(&room);
  if (error == cudaSuccess) error = Prepare<kHeadDim, kNarrowWarps>();
  if (error == cudaSuccess && room.wide) error = Prepare<kHeadDim, kWideWarps>();
  return error;
}

template <int kHeadDim>
cudaError_t LaunchEither(const DecodeParams& params, cudaStream_t stream) {
  return params.work.wide ? Launch<kHeadDim, kWideWarps>(params, stream)
                          : Launch<kHeadDim, kNarrowWarps>(params, stream);
}

}  // namespace
}  // namespace weft::ops::cuda::decoding

namespace weft::ops::cuda {

cudaError_t FindDecodeRoom(int32_t head_dim, DecodeRoom* room) {
  return head_dim == 64 ? decoding::FindRoom<64>(room) : decoding::FindRoom<128>(room);
}

cudaError_t PrepareDecodeAttention() {
  int generation = 0;
  cudaError_t error = FindGeneration(&generation);
  if (error == cudaSuccess && generation >= 9) error = FindTensorMaps();
  if (error == cudaSuccess) error = decoding::PrepareBoth<64>();
  if (error == cudaSuccess) error = decoding::PrepareBoth<128>();
  return error;
}

cudaError_t LaunchDecodeAttention(const AttentionWork& work, cudaStream_t stream) {
  decoding::DecodeParams params{};
  const cudaError_t error = decoding::Describe(work, &params);
  if (error != cudaSuccess) return error;
  return work.head_dim == 64 ? decoding::LaunchEither<64>(params, stream)
                             : decoding::LaunchEither<128>(params, stream);
}

}  // namespace weft::ops::cuda
