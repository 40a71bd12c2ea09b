// How a step's plan reaches FlashInfer's kernels. Included once for each head dimension. FlashInfer
// has its own planner; ours (attention_plan.h) fills the same arrays, because it must not copy
// behind the engine's back, must split alike in any batch when asked to, and knows our page tables.
#pragma once

#include <cuda_bf16.h>

#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/variants.cuh>
#include <flashinfer/page.cuh>

#include "ops/cuda/flashinfer_attention.h"

namespace weft::ops::cuda::paged {

using Element = __nv_bfloat16;
using CausalSoftmax = flashinfer::DefaultAttention<false, false, false, false>;

/// The same, with scores scaled before anything else. FlashInfer scales inside exp2(s * scale - m *
/// scale), which the compiler contracts, so that a block of tokens that a row may not see still
/// multiplies the row's sums by exp2 of a rounding error. With a scale of 1 it multiplies by one,
/// and what a row becomes no longer depends on who shares its tile.
struct FixedOrderSoftmax : flashinfer::AttentionVariantBase {
  static constexpr float sm_scale_log2 = 1.0F;
  uint32_t qo_len, kv_len, window_left;
  float scale_log2;

  template <typename Params>
  __device__ __host__ FixedOrderSoftmax(const Params& params, uint32_t sequence, uint8_t*)
      : qo_len(params.get_qo_len(sequence)),
        kv_len(params.get_kv_len(sequence)),
        window_left(kv_len),
        scale_log2(params.sm_scale * flashinfer::math::log2e) {}

  template <typename Params, typename T>
  __device__ __forceinline__ T LogitsTransform(const Params&, T logits, uint32_t, uint32_t,
                                               uint32_t, uint32_t, uint32_t) {
    return logits * scale_log2;
  }
};

/// What FlashInfer's kernel reads; the names are its own.
template <typename Out>
struct PagedParams {
  using DTypeQ = Element;
  using DTypeKV = Element;
  using DTypeO = Out;
  using IdType = int32_t;

  DTypeQ* q;
  flashinfer::paged_kv_t<DTypeKV, IdType> paged_kv;
  IdType* q_indptr;
  DTypeO* o;
  float* lse;
  flashinfer::uint_fastdiv group_size;
  uint32_t num_qo_heads;
  IdType q_stride_n;
  IdType q_stride_h;
  uint32_t k_sf_stride_page, k_sf_stride_n, k_sf_stride_h;
  uint32_t v_sf_stride_page, v_sf_stride_n, v_sf_stride_h;
  int32_t window_left;
  float logits_soft_cap;
  float sm_scale;
  IdType* request_indices;
  IdType* qo_tile_indices;
  IdType* kv_tile_indices;
  IdType* o_indptr;
  bool* block_valid_mask;
  IdType* kv_chunk_size_ptr;
  bool partition_kv;
  const int32_t* row_count;
  const int32_t* kv_length;

  __host__ __device__ __forceinline__ uint32_t get_qo_len(uint32_t sequence) const {
    return static_cast<uint32_t>(row_count[sequence]);
  }
  __host__ __device__ __forceinline__ uint32_t get_kv_len(uint32_t sequence) const {
    return static_cast<uint32_t>(kv_length[sequence]);
  }
};

template <typename Out>
PagedParams<Out> ParamsFor(const AttentionWork& work) {
  PagedParams<Out> params{};
  const auto head_dim = static_cast<uint32_t>(work.head_dim);
  params.q = static_cast<Element*>(const_cast<void*>(work.queries));
  auto& kv = params.paged_kv;
  kv.page_size = flashinfer::uint_fastdiv(static_cast<uint32_t>(work.tokens_per_page));
  kv.num_heads = static_cast<uint32_t>(work.kv_heads);
  kv.head_dim = head_dim;
  kv.batch_size = 0;  // Entry 0 of page_begin holds the end of the page indices.
  kv.stride_page = kv.v_stride_page = static_cast<uint32_t>(work.page_stride);
  kv.stride_n = kv.v_stride_n = head_dim;
  kv.stride_h = kv.v_stride_h = static_cast<uint32_t>(work.tokens_per_page) * head_dim;
  kv.k_data = static_cast<Element*>(const_cast<void*>(work.keys));
  kv.v_data = static_cast<Element*>(const_cast<void*>(work.values));
  kv.indices = work.pages;
  kv.indptr = work.page_begin;
  params.q_indptr = work.first_row;
  params.lse = work.split ? work.partial_log2 : nullptr;
  params.group_size = flashinfer::uint_fastdiv(static_cast<uint32_t>(work.heads / work.kv_heads));
  params.num_qo_heads = static_cast<uint32_t>(work.heads);
  params.q_stride_n = work.heads * work.head_dim;
  params.q_stride_h = work.head_dim;
  params.window_left = -1;
  params.sm_scale = work.scale;
  params.request_indices = work.item_sequence;
  params.qo_tile_indices = work.item_tile;
  params.kv_tile_indices = work.item_chunk;
  params.o_indptr = work.partial_begin;
  params.block_valid_mask = work.item_valid;
  params.kv_chunk_size_ptr = work.chunk;
  params.partition_kv = work.split;
  params.row_count = work.row_count;
  params.kv_length = work.kv_length;
  return params;
}

/// Shapes of a block. Fixed for every machine, so that a result depends on the plan alone: 48 to 68
/// KiB of shared memory at head_dim 128, two blocks or more on a multiprocessor of sm_80 and sm_90.
template <int kTileRows>
struct BlockShape {
  static constexpr uint32_t kWarpsQ = kTileRows > 16 ? 4 : 1;
  static constexpr uint32_t kWarpsKv = 4 / kWarpsQ;
  static constexpr uint32_t kMmaQ = kTileRows > 64 ? 2 : 1;
  static constexpr uint32_t kMmaKv = kTileRows > 16 ? 4 : 2;
};

template <int kHeadDim, int kTileRows, typename Out, typename Softmax>
struct Kernel {
  using Shape = BlockShape<kTileRows>;
  using Traits =
      flashinfer::KernelTraits<flashinfer::MaskMode::kCausal, kTileRows, Shape::kMmaQ,
                               Shape::kMmaKv, kHeadDim / 16, kHeadDim / 16, Shape::kWarpsQ,
                               Shape::kWarpsKv, flashinfer::PosEncodingMode::kNone, Element,
                               Element, Out, float, int32_t, Softmax>;
  static_assert(!Traits::IsInvalid());
  static constexpr size_t kSharedBytes = sizeof(typename Traits::SharedStoragePaged);

  static auto* Function() {
    return flashinfer::BatchPrefillWithPagedKVCacheKernel<true, Traits, PagedParams<Out>>;
  }
  static cudaError_t Prepare() {
    return cudaFuncSetAttribute(Function(), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(kSharedBytes));
  }
  static cudaError_t Launch(const AttentionWork& work, cudaStream_t stream) {
    auto params = ParamsFor<Out>(work);
    params.o = static_cast<Out*>(work.split ? work.partial : work.out);
    const dim3 grid(static_cast<uint32_t>(work.items), 1, static_cast<uint32_t>(work.kv_heads));
    const dim3 block(32, Shape::kWarpsQ, Shape::kWarpsKv);
    Function()<<<grid, block, kSharedBytes, stream>>>(params);
    return cudaGetLastError();
  }
};

template <int kHeadDim, int kTileRows, typename Softmax = CausalSoftmax>
cudaError_t PrepareTile() {
  const cudaError_t error = Kernel<kHeadDim, kTileRows, Element, Softmax>::Prepare();
  return error != cudaSuccess ? error : Kernel<kHeadDim, kTileRows, float, Softmax>::Prepare();
}

template <int kHeadDim>
cudaError_t PrepareFlashInfer() {
  cudaError_t error = PrepareTile<kHeadDim, 16>();
  if (error == cudaSuccess) error = PrepareTile<kHeadDim, 64>();
  if (error == cudaSuccess) error = PrepareTile<kHeadDim, 64, FixedOrderSoftmax>();
  if (error == cudaSuccess) error = PrepareTile<kHeadDim, 128>();
  return error;
}

template <int kHeadDim, int kTileRows, typename Softmax = CausalSoftmax>
cudaError_t LaunchTile(const AttentionWork& work, cudaStream_t stream) {
  return work.split ? Kernel<kHeadDim, kTileRows, float, Softmax>::Launch(work, stream)
                    : Kernel<kHeadDim, kTileRows, Element, Softmax>::Launch(work, stream);
}

template <int kHeadDim>
cudaError_t LaunchFlashInfer(const AttentionWork& work, cudaStream_t stream) {
  if (work.fixed_order)
    return work.tile_rows == 64 ? LaunchTile<kHeadDim, 64, FixedOrderSoftmax>(work, stream)
                                : cudaErrorInvalidValue;
  switch (work.tile_rows) {
    case 16:
      return LaunchTile<kHeadDim, 16>(work, stream);
    case 64:
      return LaunchTile<kHeadDim, 64>(work, stream);
    case 128:
      return LaunchTile<kHeadDim, 128>(work, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace weft::ops::cuda::paged
