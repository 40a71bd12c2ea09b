#pragma once

#include <cstdint>

// The few functions of real numbers that decide which token is chosen, as sequences of rounded
// operations, so that every backend gives the same token for the same logits, whatever its compiler
// and its library of mathematics. Functions have internal linkage: files compiled for several
// instruction sets include them, and the linker must not share their code.

#ifdef __CUDACC__
#define WEFT_HOST_DEVICE __host__ __device__
#else
#define WEFT_HOST_DEVICE
#endif

namespace weft::ops::race {

// Each rounds once; nvcc must not contract them.
#ifdef __CUDA_ARCH__
static __device__ inline uint32_t BitsOf(float x) { return __float_as_uint(x); }
static __device__ inline float FloatOf(uint32_t bits) { return __uint_as_float(bits); }
static __device__ inline float RoundToWhole(float x) { return rintf(x); }
static __device__ inline float Multiply(float a, float b) { return __fmul_rn(a, b); }
static __device__ inline float Add(float a, float b) { return __fadd_rn(a, b); }
static __device__ inline float MultiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
static WEFT_HOST_DEVICE inline uint32_t BitsOf(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
static WEFT_HOST_DEVICE inline float FloatOf(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
static WEFT_HOST_DEVICE inline float RoundToWhole(float x) { return __builtin_rintf(x); }
static WEFT_HOST_DEVICE inline float Multiply(float a, float b) { return a * b; }
static WEFT_HOST_DEVICE inline float Add(float a, float b) { return a + b; }
static WEFT_HOST_DEVICE inline float MultiplyAdd(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
#endif

/// e^x, operation by operation what the CPU's kernels compute sixteen at a time (Exp in
/// ops/cpu/rows_body.h, after Cephes' expf): x is clamped to [-87, 88]; exp(0) is 1; NaN stays NaN.
static WEFT_HOST_DEVICE inline float Exp(float x) {
  x = -87.0F > x ? -87.0F : x;
  x = 88.0F < x ? 88.0F : x;
  const float n = RoundToWhole(Multiply(x, 1.44269504088896341F));
  float r = MultiplyAdd(n, -0.693359375F, x);
  r = MultiplyAdd(n, 2.12194440e-4F, r);
  float y = 1.9875691500e-4F;
  y = MultiplyAdd(y, r, 1.3981999507e-3F);
  y = MultiplyAdd(y, r, 8.3334519073e-3F);
  y = MultiplyAdd(y, r, 4.1665795894e-2F);
  y = MultiplyAdd(y, r, 1.6666665459e-1F);
  y = MultiplyAdd(y, r, 5.0000001201e-1F);
  y = Add(MultiplyAdd(y, Multiply(r, r), r), 1.0F);
  if (x != x) return x;
  return Multiply(y, FloatOf(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23));
}

/// log x of a positive, normal x: Cephes' logf (S. Moshier), within an ulp or two. log(1) is 0.
static WEFT_HOST_DEVICE inline float Log(float x) {
  const uint32_t bits = BitsOf(x);
  float exponent = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  float m = FloatOf((bits & 0x007fffffU) | 0x3f000000U);
  if (m < 0.707106781186547524F) {
    exponent = Add(exponent, -1.0F);
    m = Add(m, m);
  }
  m = Add(m, -1.0F);
  float y = 7.0376836292e-2F;
  y = Add(Multiply(y, m), -1.1514610310e-1F);
  y = Add(Multiply(y, m), 1.1676998740e-1F);
  y = Add(Multiply(y, m), -1.2420140846e-1F);
  y = Add(Multiply(y, m), 1.4249322787e-1F);
  y = Add(Multiply(y, m), -1.6668057665e-1F);
  y = Add(Multiply(y, m), 2.0000714765e-1F);
  y = Add(Multiply(y, m), -2.4999993993e-1F);
  y = Add(Multiply(y, m), 3.3333331174e-1F);
  const float square = Multiply(m, m);
  y = Multiply(Multiply(y, m), square);
  y = Add(y, Multiply(exponent, -2.12194440e-4F));
  y = Add(y, Multiply(square, -0.5F));
  return Add(Add(m, y), Multiply(exponent, 0.693359375F));
}

/// exp of this is the smallest weight that a race of floats can tell from nothing.
inline constexpr float kNegligible = -87.0F;
/// Sums of exponentials run over chunks of this many tokens, and the chunks' sums in double.
inline constexpr int32_t kSumChunk = 4096;
/// A chunk's token t is added to sum t mod this.
inline constexpr int32_t kSumLanes = 64;

/// A weight in [0, 1] in units of 2^-44: sums of whole numbers are the same in any order, and a
/// vocabulary of half a million tokens does not overflow.
static WEFT_HOST_DEVICE inline uint64_t MassOf(float weight) {
  return static_cast<uint64_t>(Multiply(weight, 17592186044416.0F));
}
inline constexpr double kWholeMass = 17592186044416.0;

/// Whether the mass of the likeliest tokens, `kept`, reaches the share `top_p` of `all`.
static WEFT_HOST_DEVICE inline bool Reaches(uint64_t kept, float top_p, double all) {
#ifdef __CUDA_ARCH__
  return __ull2double_rn(kept) >= __dmul_rn(static_cast<double>(top_p), all);
#else
  return static_cast<double>(kept) >= static_cast<double>(top_p) * all;
#endif
}

/// How long a token of this weight takes when it drew `uniform` in (0, 1): the first wins.
static WEFT_HOST_DEVICE inline float TimeOf(float uniform, float weight) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(-Log(uniform), weight);
#else
  return -Log(uniform) / weight;
#endif
}

}  // namespace weft::ops::race
