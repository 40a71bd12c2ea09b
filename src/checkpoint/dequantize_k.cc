// K-quants. A block's 256 elements are eight groups of 32 neighbours. Bit fields of different
// groups share bytes, so a group is always one field of 32 bytes that lie together.
#include <array>
#include <cstdint>
#include <cstring>

#include "checkpoint/dequantize.h"
#include "checkpoint/quantized_blocks.h"

namespace weft::checkpoint {
namespace {

constexpr int kGroup = 32;
constexpr int kGroups = kGgufSuperBlock / kGroup;
constexpr int kHalfGroup = kGroup / 2;

/// The quants of a group.
using Quants = std::array<uint8_t, kGroup>;

/// `bits` bits of each of 32 bytes, from bit `shift` on.
Quants Field(const std::byte* from, int shift, int bits) {
  Quants quants;
  std::memcpy(quants.data(), from, sizeof(quants));
  const int mask = (1 << bits) - 1;
  for (uint8_t& quant : quants) quant = static_cast<uint8_t>(quant >> shift & mask);
  return quants;
}

/// `low`, and above its `bits` bits those of `high`.
Quants Join(Quants low, const Quants& high, int bits) {
  for (size_t i = 0; i < low.size(); ++i) low[i] = static_cast<uint8_t>(low[i] | high[i] << bits);
  return low;
}

/// scale * (quant - zero), for `kCount` of the quants from `first` on.
template <int kCount>
void Scale(const Quants& quants, int first, int zero, float scale, float* to) {
  for (int j = first; j < first + kCount; ++j) to[j] = scale * static_cast<float>(quants[j] - zero);
}

/// scale * quant - minimum, likewise.
template <int kCount>
void ScaleDown(const Quants& quants, int first, float scale, float minimum, float* to) {
  for (int j = first; j < first + kCount; ++j) {
    to[j] = scale * static_cast<float>(quants[j]) - minimum;
  }
}

/// Two bits for each group of Q2_K and Q3_K: four groups share 32 bytes.
Quants TwoBits(const std::byte* from, int group) {
  return Field(from + group / 4 * kGroup, group % 4 * 2, 2);
}

/// Four bits for each group of Q4_K and Q5_K: two groups share 32 bytes.
Quants FourBits(const std::byte* from, int group) {
  return Field(from + group / 2 * kGroup, group % 2 * 4, 4);
}

/// Scales and minima of Q4_K's and Q5_K's groups, six bits each, times the block's own.
struct GroupScales {
  std::array<float, kGroups> scales;
  std::array<float, kGroups> minima;
};

/// `from`: the block's scale, its scale of minima, and twelve bytes: the low six bits of bytes 0 to
/// 3 are the scales of groups 0 to 3, of bytes 4 to 7 their minima. Groups 4 to 7 have four bits of
/// each in bytes 8 to 11 (scales low, minima high), and the two bits above those in the upper ends
/// of bytes 0 to 7.
GroupScales UnpackGroupScales(const std::byte* from) {
  const float scale = LoadHalf(from);
  const float minimum = LoadHalf(from + 2);
  const std::byte* packed = from + 4;
  GroupScales unpacked;
  for (int i = 0; i < kGroups / 2; ++i) {
    const int first = static_cast<int>(packed[i]);
    const int second = static_cast<int>(packed[4 + i]);
    const int third = static_cast<int>(packed[8 + i]);
    unpacked.scales[i] = scale * static_cast<float>(first & 63);
    unpacked.minima[i] = minimum * static_cast<float>(second & 63);
    unpacked.scales[4 + i] = scale * static_cast<float>((third & 15) | first >> 6 << 4);
    unpacked.minima[4 + i] = minimum * static_cast<float>(third >> 4 | second >> 6 << 4);
  }
  return unpacked;
}

/// Six bits for each of the 16 half groups of Q3_K. Scale i has its low four bits in byte i % 8 and
/// its high two in byte 8 + i % 4, later ones above earlier ones.
std::array<float, 2 * kGroups> UnpackQ3_KScales(const std::byte* packed, float scale) {
  std::array<float, 2 * kGroups> scales;
  for (int i = 0; i < 2 * kGroups; ++i) {
    const int low = static_cast<int>(packed[i % 8]) >> i / 8 * 4 & 15;
    const int high = static_cast<int>(packed[8 + i % 4]) >> i / 4 * 2 & 3;
    scales[i] = scale * static_cast<float>((low | high << 4) - 32);
  }
  return scales;
}

}  // namespace

void DequantizeQ2_K(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufSuperBlock, kQ2_KBytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from + 80);
    const float minimum = LoadHalf(from + 82);
    for (int group = 0; group < kGroups; ++group, to += kGroup) {
      const Quants quants = TwoBits(from + 16, group);
      for (int half = 0; half < 2; ++half) {
        const int pair = static_cast<int>(from[2 * group + half]);
        ScaleDown<kHalfGroup>(quants, half * kHalfGroup, scale * static_cast<float>(pair & 15),
                              minimum * static_cast<float>(pair >> 4), to);
      }
    }
  });
}

void DequantizeQ3_K(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufSuperBlock, kQ3_KBytes>(raw, into, [](const std::byte* from, float* to) {
    const auto scales = UnpackQ3_KScales(from + 96, LoadHalf(from + 108));
    for (int group = 0; group < kGroups; ++group, to += kGroup) {
      const Quants quants = Join(TwoBits(from + 32, group), Field(from, group, 1), 2);
      Scale<kHalfGroup>(quants, 0, 4, scales[2 * group], to);
      Scale<kHalfGroup>(quants, kHalfGroup, 4, scales[2 * group + 1], to);
    }
  });
}

void DequantizeQ4_K(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufSuperBlock, kQ4_KBytes>(raw, into, [](const std::byte* from, float* to) {
    const GroupScales unpacked = UnpackGroupScales(from);
    for (int group = 0; group < kGroups; ++group, to += kGroup) {
      ScaleDown<kGroup>(FourBits(from + 16, group), 0, unpacked.scales[group],
                        unpacked.minima[group], to);
    }
  });
}

void DequantizeQ5_K(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufSuperBlock, kQ5_KBytes>(raw, into, [](const std::byte* from, float* to) {
    const GroupScales unpacked = UnpackGroupScales(from);
    for (int group = 0; group < kGroups; ++group, to += kGroup) {
      const Quants quants = Join(FourBits(from + 48, group), Field(from + 16, group, 1), 4);
      ScaleDown<kGroup>(quants, 0, unpacked.scales[group], unpacked.minima[group], to);
    }
  });
}

void DequantizeQ6_K(std::span<const std::byte> raw, std::span<float> into) {
  ForEachBlock<kGgufSuperBlock, kQ6_KBytes>(raw, into, [](const std::byte* from, float* to) {
    const float scale = LoadHalf(from + 208);
    for (int group = 0; group < kGroups; ++group, to += kGroup) {
      // Of four groups, the first two have the low halves of 64 bytes, the others the high ones.
      const std::byte* low = from + group / 4 * 64 + group % 2 * kGroup;
      const Quants quants = Join(Field(low, group / 2 % 2 * 4, 4), TwoBits(from + 128, group), 4);
      for (int half = 0; half < 2; ++half) {
        const auto own = static_cast<int8_t>(from[192 + 2 * group + half]);
        Scale<kHalfGroup>(quants, half * kHalfGroup, 32, scale * static_cast<float>(own), to);
      }
    }
  });
}

}  // namespace weft::checkpoint
