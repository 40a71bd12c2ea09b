#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/bytes.h"
#include "base/check.h"
#include "checkpoint/half_float.h"

namespace weft::checkpoint {

/// The IEEE half in the two bytes at `from`, which need no alignment.
inline float LoadHalf(const std::byte* from) {
  uint16_t half = 0;
  std::memcpy(&half, from, sizeof(half));
  return HalfToFloat(half);
}

/// Calls widen(block, to) for each block of `raw`, `to` being the place of its kElements floats.
template <int kElements, Bytes kBytes, typename Widen>
void ForEachBlock(std::span<const std::byte> raw, std::span<float> into, Widen widen) {
  constexpr auto kStep = static_cast<size_t>(kBytes);
  const size_t blocks = raw.size() / kStep;
  WEFT_CHECK(raw.size() % kStep == 0 && into.size() == blocks * kElements);
  const std::byte* from = raw.data();
  float* to = into.data();
  for (size_t i = 0; i < blocks; ++i, from += kStep, to += kElements) widen(from, to);
}

}  // namespace weft::checkpoint
