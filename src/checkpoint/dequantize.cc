#include "checkpoint/dequantize.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "checkpoint/quantized_blocks.h"

namespace weft::checkpoint {
namespace {

constexpr int kHalfBlock = kGgufBlock / 2;

/// 1, 2, 4, ...: each lane tests a bit of its own, as SSE2 cannot shift lanes apart.
constexpr std::array<int32_t, kHalfBlock> kBits = [] {
  std::array<int32_t, kHalfBlock> bits = {};
  for (int j = 0; j < kHalfBlock; ++j) bits[j] = 1 << j;
  return bits;
}();

/// The quants of a Q5 block from its high bits (four bytes, bit j for element j) and its pairs of
/// low bits.
std::array<int32_t, kGgufBlock> FiveBits(const std::byte* high, const std::byte* pairs) {
  std::array<uint16_t, 2> bits;
  std::memcpy(bits.data(), high, sizeof(bits));
  std::array<int32_t, kGgufBlock> quants;
  for (int j = 0; j < kHalfBlock; ++j) {
    const int pair = static_cast<int>(pairs[j]);
    quants[j] = (pair & 15) + ((bits[0] & kBits[j]) != 0 ? 16 : 0);
    quants[j + kHalfBlock] = (pair >> 4) + ((bits[1] & kBits[j]) != 0 ? 16 : 0);
  }
  return quants;
}

}  // namespace

void DequantizeQ8_0(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufBlock, kQ8_0Bytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from);
    for (int j = 0; j < kGgufBlock; ++j) {
      to[j] = scale * static_cast<float>(static_cast<int8_t>(from[2 + j]));
    }
  });
}

void DequantizeQ4_0(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufBlock, kQ4_0Bytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from);
    for (int j = 0; j < kHalfBlock; ++j) {
      const int pair = static_cast<int>(from[2 + j]);
      to[j] = scale * static_cast<float>((pair & 15) - 8);
      to[j + kHalfBlock] = scale * static_cast<float>((pair >> 4) - 8);
    }
  });
}

void DequantizeQ4_1(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufBlock, kQ4_1Bytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from);
    const float minimum = LoadHalf(from + 2);
    for (int j = 0; j < kHalfBlock; ++j) {
      const int pair = static_cast<int>(from[4 + j]);
      to[j] = scale * static_cast<float>(pair & 15) + minimum;
      to[j + kHalfBlock] = scale * static_cast<float>(pair >> 4) + minimum;
    }
  });
}

void DequantizeQ5_0(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufBlock, kQ5_0Bytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from);
    const auto quants = FiveBits(from + 2, from + 6);
    for (int j = 0; j < kGgufBlock; ++j) to[j] = scale * static_cast<float>(quants[j] - 16);
  });
}

void DequantizeQ5_1(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufBlock, kQ5_1Bytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from);
    const float minimum = LoadHalf(from + 2);
    const auto quants = FiveBits(from + 4, from + 8);
    for (int j = 0; j < kGgufBlock; ++j) to[j] = scale * static_cast<float>(quants[j]) + minimum;
  });
}

}  // namespace weft::checkpoint
