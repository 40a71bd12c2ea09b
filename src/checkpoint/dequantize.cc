#include "checkpoint/dequantize.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "checkpoint/half_float.h"

namespace weft::checkpoint {
namespace {

float LoadHalf(const std::byte* from) {
  uint16_t half = 0;
  std::memcpy(&half, from, sizeof(half));
  return HalfToFloat(half);
}

size_t CountBlocks(std::span<const std::byte> raw, Bytes block, std::span<float> into) {
  const size_t blocks = raw.size() / static_cast<size_t>(block);
  WEFT_CHECK(raw.size() % static_cast<size_t>(block) == 0 && into.size() == blocks * kGgufBlock);
  return blocks;
}

}  // namespace

void DequantizeQ8_0(std::span<const std::byte> raw, std::span<float> into) {
  const size_t blocks = CountBlocks(raw, kQ8_0Bytes, into);
  const std::byte* from = raw.data();
  float* to = into.data();
  for (size_t i = 0; i < blocks; ++i, from += kQ8_0Bytes, to += kGgufBlock) {
    const float scale = LoadHalf(from);
    for (int j = 0; j < kGgufBlock; ++j) {
      to[j] = scale * static_cast<float>(static_cast<int8_t>(from[2 + j]));
    }
  }
}

void DequantizeQ4_0(std::span<const std::byte> raw, std::span<float> into) {
  const size_t blocks = CountBlocks(raw, kQ4_0Bytes, into);
  const std::byte* from = raw.data();
  float* to = into.data();
  for (size_t i = 0; i < blocks; ++i, from += kQ4_0Bytes, to += kGgufBlock) {
    const float scale = LoadHalf(from);
    for (int j = 0; j < kGgufBlock / 2; ++j) {
      const int pair = static_cast<int>(from[2 + j]);
      to[j] = scale * static_cast<float>((pair & 15) - 8);
      to[j + kGgufBlock / 2] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
}

void DequantizeQ4_1(std::span<const std::byte> raw, std::span<float> into) {
  const size_t blocks = CountBlocks(raw, kQ4_1Bytes, into);
  const std::byte* from = raw.data();
  float* to = into.data();
  for (size_t i = 0; i < blocks; ++i, from += kQ4_1Bytes, to += kGgufBlock) {
    const float scale = LoadHalf(from);
    const float minimum = LoadHalf(from + 2);
    for (int j = 0; j < kGgufBlock / 2; ++j) {
      const int pair = static_cast<int>(from[4 + j]);
      to[j] = scale * static_cast<float>(pair & 15) + minimum;
      to[j + kGgufBlock / 2] = scale * static_cast<float>(pair >> 4) + minimum;
    }
  }
}

}  // namespace weft::checkpoint
