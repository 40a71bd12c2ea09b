// Sixteen floats on AVX-512, and dot products of pairs of bfloat16. Included by kernels_avx512.cc
// alone: everything here is compiled with flags that other files must not see, so it uses no
// library templates that the linker could share with them.
#include <immintrin.h>

#include <cstdint>

namespace weft::ops::cpu::avx512 {

struct Vec {
  __m512 v;
};

inline Vec Zero() { return {_mm512_setzero_ps()}; }
inline Vec Set(float x) { return {_mm512_set1_ps(x)}; }
inline Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void Store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
inline Vec Add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec Sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec Mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec Div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
/// a * b + c, rounded once.
inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
/// Lanes at or past `count`, any number, become `fill`.
inline Vec KeepFirst(Vec a, int count, float fill) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 keep = _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(count));
  return {_mm512_mask_blend_ps(keep, _mm512_set1_ps(fill), a.v)};
}
inline Vec RoundToInteger(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// 2^n for integral n in [-126, 127].
inline Vec PowerOfTwo(Vec n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
/// Bit i is set where a[i] > b[i].
inline uint32_t GreaterMask(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }

inline void Split(Vec a, __m256* low, __m256* high) {
  *low = _mm512_castps512_ps256(a.v);
  *high = _mm512_extractf32x8_ps(a.v, 1);
}

/// Sixteen unsigned 32-bit integers.
struct Words {
  __m512i v;
};
inline Words SetWords(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline Words LoadWords(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void StoreWords(uint32_t* p, Words a) { _mm512_storeu_si512(p, a.v); }
inline Words AddWords(Words a, Words b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Words Xor(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
/// The 64-bit products of lanes, cut into halves.
inline void MulWide(Words a, Words b, Words* low, Words* high) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
  low->v = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
  high->v = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
}
/// Numbers in (0, 1), as OpenUnitInterval gives them.
inline Vec ToOpenUnitInterval(Words a) {
  const __m512 whole = _mm512_cvtepi32_ps(_mm512_srli_epi32(a.v, 9));
  return {
      _mm512_mul_ps(_mm512_add_ps(whole, _mm512_set1_ps(0.5F)), _mm512_set1_ps(1.0F / 8388608.0F))};
}

/// bfloat16: two neighbours along K make a pair, multiplied and added in one instruction.
struct BFloat16Element {
  using Type = uint16_t;
  static constexpr int kPair = 2;
  static constexpr int kTileRows = 12;
  static constexpr int kTilePanels = 2;
  static constexpr int kShrinkRows = 4;
  static constexpr int kFewRows = 4;
  static constexpr int kFewPanels = 4;
  using Broadcast = __m512bh;
  using Column = __m512bh;
  static Broadcast Spread(const Type* a) {
    int pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
  }
  static Column LoadColumn(const Type* b) { return (__m512bh)_mm512_loadu_si512(b); }
  static Column LoadHalfColumn(const Type* b) {
    return (__m512bh)_mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i*)b));
  }
  static Vec Dot(Vec acc, Broadcast a, Column b) { return {_mm512_dpbf16_ps(acc.v, a, b)}; }
  static void StoreRounded(Type* p, Vec x) {
    const __m256bh rounded = _mm512_cvtneps_pbh(x.v);
    _mm256_storeu_si256((__m256i*)p, (__m256i)rounded);
  }
  static Vec LoadWide(const Type* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
  }
};

struct Float32Element {
  using Type = float;
  static constexpr int kPair = 1;
  static constexpr int kTileRows = 12;
  static constexpr int kTilePanels = 2;
  static constexpr int kShrinkRows = 4;
  static constexpr int kFewRows = 4;
  static constexpr int kFewPanels = 4;
  using Broadcast = __m512;
  using Column = __m512;
  static Broadcast Spread(const Type* a) { return _mm512_set1_ps(*a); }
  static Column LoadColumn(const Type* b) { return _mm512_loadu_ps(b); }
  static Column LoadHalfColumn(const Type* b) { return _mm512_zextps256_ps512(_mm256_loadu_ps(b)); }
  static Vec Dot(Vec acc, Broadcast a, Column b) { return {_mm512_fmadd_ps(a, b, acc.v)}; }
  static void StoreRounded(Type* p, Vec x) { _mm512_storeu_ps(p, x.v); }
  static Vec LoadWide(const Type* p) { return {_mm512_loadu_ps(p)}; }
};

}  // namespace weft::ops::cpu::avx512
