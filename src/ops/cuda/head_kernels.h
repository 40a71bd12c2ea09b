#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "base/dtype.h"

// What happens to the heads of q, k and v between their projection and attention.
namespace weft::ops::cuda {

/// rope[row] = cos [head_dim / 2], then sin, of the row's position.
struct RopeRowsParams {
  const float* frequencies = nullptr;  ///< [head_dim / 2]
  const int32_t* positions = nullptr;  ///< [rows]
  float* rope = nullptr;               ///< [rows, head_dim]
  int32_t rows = 0;
  int32_t head_dim = 0;
};
void LaunchRopeRows(const RopeRowsParams& params, cudaStream_t stream);

/// Each head of q, k and v of each row, in float: plus what adapters add and bias; q and k normed
/// and turned. Then q goes to `queries`, K and V to their row's place in the pages: inside (layer,
/// K or V) a page lies as [kv head][token][head_dim].
struct FinishHeadsParams {
  DType dtype = DType::kBFloat16;
  const void* qkv = nullptr;      ///< [rows, (heads + 2 * kv_heads) * head_dim]: q, k, v.
  const void* delta = nullptr;    ///< As qkv, or null.
  const float* q_bias = nullptr;  ///< [heads * head_dim], or null; k and v likewise.
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* q_norm = nullptr;  ///< [head_dim], or null; k likewise.
  const float* k_norm = nullptr;
  const float* rope = nullptr;     ///< [rows, head_dim] as LaunchRopeRows has it; null: not turned.
  const int32_t* slots = nullptr;  ///< [rows]: page * tokens_per_page + token in it.
  void* queries = nullptr;         ///< [rows, heads, head_dim]
  std::byte* arena = nullptr;
  int64_t page_bytes = 0;
  int64_t k_offset = 0;  ///< From a page's start to this layer's K, in bytes; V likewise.
  int64_t v_offset = 0;
  int32_t tokens_per_page = 0;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  ///< Even, at most 256.
  float epsilon = 0.0F;
};
void LaunchFinishHeads(const FinishHeadsParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
