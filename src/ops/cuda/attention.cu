#include <cuda_bf16.h>

#include <cmath>

#include "ops/cuda/attention.h"
#include "ops/cuda/decode_attention.h"
#include "ops/cuda/flashinfer_attention.h"
#include "ops/cuda/overlapped_launch.cuh"
#include "ops/cuda/plain_attention.h"

namespace weft::ops::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kMergeWarps = 4;
constexpr int kMaxHeadDim = 256;
constexpr int kPairsPerLane = kMaxHeadDim / 2 / kLanes;

struct Merge {
  const float* partial;
  const float* partial_log2;
  const int32_t* row;
  const int32_t* begin;
  const int32_t* count;
  __nv_bfloat16* out;
  int32_t heads;
  int32_t head_dim;
};

/// out = sum of the parts, each weighted by its share of the sum of exponentials, in the order of
/// the tokens. A warp for each (row, head). Lanes find the weights of 32 parts at once; the parts'
/// loads do not wait for one another.
__global__ void __launch_bounds__(kMergeWarps* kLanes) MergeParts(const Merge merge, int units) {
  const int unit =
      static_cast<int>(blockIdx.x) * kMergeWarps + static_cast<int>(threadIdx.x) / kLanes;
  if (unit >= units) return;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int index = unit / merge.heads;
  const int head = unit % merge.heads;
  const int64_t first = merge.begin[index];
  const int count = merge.count[index];
  AdmitKernelBehind();
  AwaitKernelBefore();
  float max = -INFINITY;
  for (int part = lane; part < count; part += kLanes)
    max = fmaxf(max, merge.partial_log2[(first + part) * merge.heads + head]);
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, offset));
  float2 sums[kPairsPerLane] = {};
  float total = 0.0F;
  for (int start = 0; start < count; start += kLanes) {
    float mine = 0.0F;
    if (start + lane < count)
      mine = exp2f(merge.partial_log2[(first + start + lane) * merge.heads + head] - max);
    const int some = min(kLanes, count - start);
#pragma unroll 8
    for (int part = 0; part < some; ++part) {
      // A part that the row may not see has weight 0, and changes nothing.
      const float weight = __shfl_sync(0xffffffffU, mine, part);
      const auto* pairs = reinterpret_cast<const float2*>(
          merge.partial + ((first + start + part) * merge.heads + head) * merge.head_dim);
      total += weight;
#pragma unroll
      for (int i = 0; i < kPairsPerLane; ++i) {
        if (lane + i * kLanes >= merge.head_dim / 2) continue;
        const float2 pair = pairs[lane + i * kLanes];
        sums[i].x = fmaf(pair.x, weight, sums[i].x);
        sums[i].y = fmaf(pair.y, weight, sums[i].y);
      }
    }
  }
  const float inverse = total > 0.0F ? 1.0F / total : 0.0F;
  auto* out = reinterpret_cast<__nv_bfloat162*>(
      merge.out + (int64_t{merge.row[index]} * merge.heads + head) * merge.head_dim);
#pragma unroll
  for (int i = 0; i < kPairsPerLane; ++i)
    if (lane + i * kLanes < merge.head_dim / 2)
      out[lane + i * kLanes] = __floats2bfloat162_rn(sums[i].x * inverse, sums[i].y * inverse);
}

cudaError_t LaunchWork(const AttentionWork& work, cudaStream_t stream) {
  switch (work.head_dim) {
    case 64:
      return LaunchFlashInfer64(work, stream);
    case 128:
      return LaunchFlashInfer128(work, stream);
    default:
      return LaunchPlainAttention(work, stream);
  }
}

}  // namespace

PagedAttention::PagedAttention(const AttentionShape& shape, const AttentionPlanner& planner)
    : shape_(shape),
      layout_(planner.layout()),
      max_partial_rows_(planner.max_partial_rows()),
      deterministic_(planner.deterministic()) {}

bool PagedAttention::Serves(int32_t head_dim) {
  return head_dim > 0 && head_dim <= kMaxHeadDim && head_dim % 16 == 0;
}

cudaError_t PagedAttention::Prepare() const {
  const cudaError_t error = PrepareDecodeAttention();
  if (error != cudaSuccess) return error;
  if (shape_.head_dim == 64) return PrepareFlashInfer64();
  if (shape_.head_dim == 128) return PrepareFlashInfer128();
  return PreparePlainAttention();
}

int64_t PagedAttention::scratch_bytes() const {
  return int64_t{max_partial_rows_} * shape_.heads * (shape_.head_dim + 1) *
         static_cast<int64_t>(sizeof(float));
}

cudaError_t PagedAttention::Run(const AttentionParams& params, const AttentionLaunch& launch,
                                cudaStream_t stream, SideStream& beside) const {
  const auto at = [&params](int64_t offset) {
    return reinterpret_cast<int32_t*>(params.plan + offset);
  };
  AttentionWork work;
  work.queries = params.queries;
  work.keys = params.arena + params.k_offset;
  work.values = params.arena + params.v_offset;
  work.out = params.out;
  work.partial = reinterpret_cast<float*>(params.scratch);
  work.partial_log2 = work.partial + int64_t{max_partial_rows_} * shape_.heads * shape_.head_dim;
  work.heads = shape_.heads;
  work.kv_heads = shape_.kv_heads;
  work.head_dim = shape_.head_dim;
  work.tokens_per_page = shape_.tokens_per_page;
  work.page_stride = params.page_bytes / static_cast<int64_t>(sizeof(__nv_bfloat16));
  work.page_count = params.page_count;
  work.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
  work.pages = at(layout_.pages);
  work.page_begin = at(layout_.page_begin);
  work.first_row = at(layout_.first_row);
  work.row_count = at(layout_.row_count);
  work.kv_length = at(layout_.kv_length);
  work.partial_begin = at(layout_.partial_begin);
  work.counters = at(layout_.counters);
  if (launch.MayRunBeside()) {
    // Decodes wait for memory, prefills multiply. The prefills' blocks go first: they are more, and
    // where they leave a multiprocessor there is room.
    const cudaStream_t decodes = beside.Fork(stream);
    cudaError_t error = RunPass(params, launch.passes.back(), work, stream);
    work.overlapped = false;
    if (error == cudaSuccess) error = RunPass(params, launch.passes.front(), work, decodes);
    beside.Join(stream);
    return error;
  }
  for (const AttentionPass& pass : launch.passes) {
    const cudaError_t error = RunPass(params, pass, work, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t PagedAttention::RunPass(const AttentionParams& params, const AttentionPass& pass,
                                    AttentionWork work, cudaStream_t stream) const {
  const auto at = [&params](int64_t offset) {
    return reinterpret_cast<int32_t*>(params.plan + offset);
  };
  work.chunk = at(layout_.chunk) + pass.index;
  work.item_sequence = at(layout_.item_sequence) + pass.first_item;
  work.item_tile = at(layout_.item_tile) + pass.first_item;
  work.item_chunk = at(layout_.item_chunk) + pass.first_item;
  work.item_valid = reinterpret_cast<bool*>(params.plan + layout_.item_valid + pass.first_item);
  work.items = pass.items;
  work.tile_rows = pass.tile_rows;
  work.split = pass.split;
  work.wide = pass.wide;
  work.fixed_order = deterministic_;
  const cudaError_t error =
      pass.decode ? LaunchDecodeAttention(work, stream) : LaunchWork(work, stream);
  if (error != cudaSuccess || !pass.split || pass.merges == 0) return error;
  const Merge merge{work.partial,
                    work.partial_log2,
                    at(layout_.merge_row) + pass.first_merge,
                    at(layout_.merge_begin) + pass.first_merge,
                    at(layout_.merge_count) + pass.first_merge,
                    static_cast<__nv_bfloat16*>(work.out),
                    shape_.heads,
                    shape_.head_dim};
  const int units = pass.merges * shape_.heads;
  const auto blocks = static_cast<uint32_t>((units + kMergeWarps - 1) / kMergeWarps);
  return LaunchOverlapped(MergeParts, dim3(blocks), dim3(kMergeWarps * kLanes), 0, stream, merge,
                          units);
}

}  // namespace weft::ops::cuda
