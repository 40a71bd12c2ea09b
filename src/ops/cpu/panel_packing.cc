#include "ops/cpu/panel_packing.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace weft::ops::cpu {
namespace {

constexpr int64_t kWord = 4;
/// Words of a cache line: it is used up before the next row's is touched, because rows whose
/// distance is a power of two share their places in the first-level cache.
constexpr int64_t kLineWords = 16;

const __m128i* Vector(const std::byte* at) { return reinterpret_cast<const __m128i*>(at); }

/// Four words of four rows, to four lanes of four words. Every x86-64 processor has SSE2, and no
/// more is needed to be as fast as memory.
void Transpose4x4(const std::byte* from, int64_t stride, std::byte* to, int64_t to_stride) {
  const __m128i a = _mm_loadu_si128(Vector(from));
  const __m128i b = _mm_loadu_si128(Vector(from + stride));
  const __m128i c = _mm_loadu_si128(Vector(from + 2 * stride));
  const __m128i d = _mm_loadu_si128(Vector(from + 3 * stride));
  const __m128i ab_low = _mm_unpacklo_epi32(a, b);
  const __m128i ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d);
  const __m128i cd_high = _mm_unpackhi_epi32(c, d);
  const __m128i words[] = {_mm_unpacklo_epi64(ab_low, cd_low), _mm_unpackhi_epi64(ab_low, cd_low),
                           _mm_unpacklo_epi64(ab_high, cd_high),
                           _mm_unpackhi_epi64(ab_high, cd_high)};
  for (const __m128i& word : words) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), word);
    to += to_stride;
  }
}

}  // namespace

void InterleaveWords(const std::byte* from, int64_t stride, int32_t rows, int32_t lanes,
                     int64_t words, std::byte* to) {
  WEFT_CHECK(lanes % 4 == 0 && rows <= lanes);
  const int64_t to_stride = lanes * kWord;
  const int32_t whole_rows = rows / 4 * 4;
  const int64_t whole_words = words / 4 * 4;
  for (int64_t line = 0; line < whole_words; line += kLineWords) {
    const int64_t end = std::min(line + kLineWords, whole_words);
    for (int32_t row = 0; row < whole_rows; row += 4)
      for (int64_t k = line; k < end; k += 4)
        Transpose4x4(from + row * stride + k * kWord, stride, to + k * to_stride + row * kWord,
                     to_stride);
  }
  const auto copy = [&](int32_t row, int64_t k) {
    std::byte* word = to + k * to_stride + row * kWord;
    if (row < rows) {
      std::memcpy(word, from + row * stride + k * kWord, kWord);
    } else {
      std::memset(word, 0, kWord);
    }
  };
  for (int64_t k = 0; k < words; ++k)
    for (int32_t row = k < whole_words ? whole_rows : 0; row < lanes; ++row) copy(row, k);
}

void NarrowToBFloat16(const float* from, int64_t count, BFloat16* to) {
  // ToBFloat16 without branches, so that the loop becomes one of vectors.
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i]);
    const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
    const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    to[i].bits = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40U : rounded);
  }
}

}  // namespace weft::ops::cpu
