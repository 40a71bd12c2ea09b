// Sixteen floats as two AVX2 registers, and dot products of pairs of bfloat16 by widening. Included
// by kernels_avx2.cc alone: everything here is compiled with flags that other files must not see,
// so it uses no library templates that the linker could share with them.
#include <immintrin.h>

#include <cstdint>

namespace weft::ops::cpu::avx2 {

struct Vec {
  __m256 low, high;
};

inline Vec Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Vec Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void Store(float* p, Vec x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
inline Vec Add(Vec a, Vec b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Vec Sub(Vec a, Vec b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Vec Mul(Vec a, Vec b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Vec Div(Vec a, Vec b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline Vec Max(Vec a, Vec b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline Vec Min(Vec a, Vec b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
/// a * b + c, rounded once.
inline Vec MulAdd(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
/// Lanes at or past `count`, any number, become `fill`.
inline Vec KeepFirst(Vec a, int count, float fill) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 low = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane));
  const __m256 high = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), lane));
  const __m256 other = _mm256_set1_ps(fill);
  return {_mm256_blendv_ps(other, a.low, low), _mm256_blendv_ps(other, a.high, high)};
}
inline Vec RoundToInteger(Vec a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, kMode), _mm256_round_ps(a.high, kMode)};
}
/// 2^n for integral n in [-126, 127].
inline Vec PowerOfTwo(Vec n) {
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i low = _mm256_add_epi32(_mm256_cvtps_epi32(n.low), bias);
  const __m256i high = _mm256_add_epi32(_mm256_cvtps_epi32(n.high), bias);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 23)),
          _mm256_castsi256_ps(_mm256_slli_epi32(high, 23))};
}
/// Bit i is set where a[i] > b[i].
inline uint32_t GreaterMask(Vec a, Vec b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ));
  return static_cast<uint32_t>(low | (high << 8));
}

inline void Split(Vec a, __m256* low, __m256* high) {
  *low = a.low;
  *high = a.high;
}

/// Sixteen unsigned 32-bit integers.
struct Words {
  __m256i low, high;
};
inline Words SetWords(uint32_t x) {
  return {_mm256_set1_epi32(static_cast<int>(x)), _mm256_set1_epi32(static_cast<int>(x))};
}
inline Words LoadWords(const uint32_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 8))};
}
inline void StoreWords(uint32_t* p, Words a) {
  _mm256_storeu_si256((__m256i*)p, a.low);
  _mm256_storeu_si256((__m256i*)(p + 8), a.high);
}
inline Words AddWords(Words a, Words b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Words Xor(Words a, Words b) {
  return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}
inline void MulWideHalf(__m256i a, __m256i b, __m256i* low, __m256i* high) {
  const __m256i even = _mm256_mul_epu32(a, b);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
/// The 64-bit products of lanes, cut into halves.
inline void MulWide(Words a, Words b, Words* low, Words* high) {
  MulWideHalf(a.low, b.low, &low->low, &high->low);
  MulWideHalf(a.high, b.high, &low->high, &high->high);
}
/// Numbers in (0, 1), as OpenUnitInterval gives them.
inline Vec ToOpenUnitInterval(Words a) {
  const Vec whole = {_mm256_cvtepi32_ps(_mm256_srli_epi32(a.low, 9)),
                     _mm256_cvtepi32_ps(_mm256_srli_epi32(a.high, 9))};
  return Mul(Add(whole, Set(0.5F)), Set(1.0F / 8388608.0F));
}

/// Eight floats rounded to bfloat16, to nearest even; NaN stays NaN.
inline __m128i Round8(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

/// bfloat16: two neighbours along K make a pair; here widened and multiplied one after the other.
struct BFloat16Element {
  using Type = uint16_t;
  static constexpr int kPair = 2;
  static constexpr int kTileRows = 4;
  static constexpr int kTilePanels = 1;
  static constexpr int kShrinkRows = 1;
  static constexpr int kFewRows = 2;
  static constexpr int kFewPanels = 2;
  struct Broadcast {
    __m256 even, odd;
  };
  struct Column {
    Vec even, odd;
  };
  static __m256 Even(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static __m256 Odd(__m256i pairs) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static Broadcast Spread(const Type* a) {
    int pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    const __m256i pairs = _mm256_set1_epi32(pair);
    return {Even(pairs), Odd(pairs)};
  }
  static Column LoadColumn(const Type* b) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)b);
    const __m256i high = _mm256_loadu_si256((const __m256i*)(b + 16));
    return {{Even(low), Even(high)}, {Odd(low), Odd(high)}};
  }
  static Column LoadHalfColumn(const Type* b) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)b);
    return {{Even(low), _mm256_setzero_ps()}, {Odd(low), _mm256_setzero_ps()}};
  }
  static Vec Dot(Vec acc, Broadcast a, Column b) {
    acc = MulAdd({a.even, a.even}, b.even, acc);
    return MulAdd({a.odd, a.odd}, b.odd, acc);
  }
  static void StoreRounded(Type* p, Vec x) {
    _mm_storeu_si128((__m128i*)p, Round8(x.low));
    _mm_storeu_si128((__m128i*)(p + 8), Round8(x.high));
  }
  static Vec LoadWide(const Type* p) {
    const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
    const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)));
    return {Even(low), Even(high)};
  }
};

struct Float32Element {
  using Type = float;
  static constexpr int kPair = 1;
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = 1;
  static constexpr int kShrinkRows = 1;
  static constexpr int kFewRows = 2;
  static constexpr int kFewPanels = 2;
  using Broadcast = __m256;
  using Column = Vec;
  static Broadcast Spread(const Type* a) { return _mm256_broadcast_ss(a); }
  static Column LoadColumn(const Type* b) { return Load(b); }
  static Column LoadHalfColumn(const Type* b) { return {_mm256_loadu_ps(b), _mm256_setzero_ps()}; }
  static Vec Dot(Vec acc, Broadcast a, Column b) { return MulAdd({a, a}, b, acc); }
  static void StoreRounded(Type* p, Vec x) { Store(p, x); }
  static Vec LoadWide(const Type* p) { return Load(p); }
};

}  // namespace weft::ops::cpu::avx2
