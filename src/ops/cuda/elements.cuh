#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "base/dtype.h"

// Elements of activations, weights and pages inside kernels.
namespace weft::ops::cuda {

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ T FromFloat(float value);
template <>
__device__ inline float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

/// Eight neighbouring elements as floats; `from` is aligned to sixteen bytes.
__device__ inline void LoadEight(const float* from, float* values) {
  *reinterpret_cast<float4*>(values) = *reinterpret_cast<const float4*>(from);
  *reinterpret_cast<float4*>(values + 4) = *reinterpret_cast<const float4*>(from + 4);
}
__device__ inline void LoadEight(const __nv_bfloat16* from, float* values) {
  const uint4 words = *reinterpret_cast<const uint4*>(from);
  const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = __uint_as_float(pairs[i] << 16);
    values[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  }
}

__device__ inline void StoreEight(const float* values, float* to) {
  *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(values);
  *reinterpret_cast<float4*>(to + 4) = *reinterpret_cast<const float4*>(values + 4);
}
__device__ inline void StoreEight(const float* values, __nv_bfloat16* to) {
  __nv_bfloat162 pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(pairs);
}

/// The sum over a warp, in every lane, always added in the same order.
__device__ inline float SumOfWarp(float value) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(0xffffffffu, value, lane);
  return value;
}

/// Calls body(T{}) with the element type of `dtype`.
template <typename Body>
void WithElement(DType dtype, Body body) {
  if (dtype == DType::kFloat32) {
    body(float{});
  } else {
    body(__nv_bfloat16{});
  }
}

}  // namespace weft::ops::cuda
