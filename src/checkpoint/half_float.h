#pragma once

#include <bit>
#include <cstdint>

namespace weft::checkpoint {

/// IEEE half to float, subnormals, infinities and NaN included. Without branches, so that loops
/// over it vectorise.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffu) << 13;
  // Moves the exponent from a bias of 15 to one of 127; infinity and NaN move twice.
  const uint32_t rebias = 112u << 23;
  const uint32_t normal = magnitude + rebias + (magnitude >= 0x0f800000u ? rebias : 0u);
  // A subnormal 0.m x 2^-14 is 1.m x 2^-14 less 2^-14, which is exact.
  const float small = std::bit_cast<float>(magnitude + (113u << 23)) - 0x1p-14F;
  const uint32_t value = magnitude < 0x00800000u ? std::bit_cast<uint32_t>(small) : normal;
  return std::bit_cast<float>(value | sign);
}

/// Rounds to nearest even; beyond 65504 to infinity; NaN stays NaN (quiet).
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Adding 0.5 leaves the subnormal's ten bits, rounded to even, at the mantissa's end.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

}  // namespace weft::checkpoint
