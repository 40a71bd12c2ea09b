#include "checkpoint/widen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "checkpoint/half_float.h"

namespace weft::checkpoint {
namespace {

/// What IEEE 754 says a half is, without bit tricks.
float SlowHalf(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

TEST(Widen, EveryHalfIsWhatIeeeSays) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> floats(halves.size());
  WidenToFloat(StoredType::kF16, std::as_bytes(std::span(halves)), floats);
  for (size_t i = 0; i < halves.size(); ++i) {
    const float expected = SlowHalf(halves[i]);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(floats[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(floats[i]), std::bit_cast<uint32_t>(expected)) << i;
      ASSERT_EQ(FloatToHalf(floats[i]), halves[i]) << i;
    }
  }
}

TEST(Widen, HalvesRoundToNearestEven) {
  // Between each two neighbours: just below, at, and just above the middle.
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = SlowHalf(half);
    const float high = SlowHalf(static_cast<uint16_t>(half + 1));
    const float middle = low + (high - low) / 2;
    const uint16_t even = half % 2 == 0 ? half : static_cast<uint16_t>(half + 1);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), half);
    ASSERT_EQ(FloatToHalf(middle), even);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 1e9F)), half + 1);
  }
  EXPECT_EQ(FloatToHalf(65519.0F), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e30F), 0xfc00);
  EXPECT_EQ(FloatToHalf(NAN) & 0x7e00, 0x7e00);
}

TEST(Widen, BFloat16IsTheUpperHalfOfAFloat) {
  const std::vector<uint16_t> stored = {0x3f80, 0xc000, 0x0001, 0x7f80};
  std::vector<float> floats(stored.size());
  WidenToFloat(StoredType::kBF16, std::as_bytes(std::span(stored)), floats);
  EXPECT_EQ(floats, (std::vector<float>{1.0F, -2.0F, std::bit_cast<float>(0x00010000u), INFINITY}));
}

TEST(Widen, NarrowsAsBaseDoes) {
  std::vector<float> floats;
  for (uint32_t i = 0; i < 100'000; ++i) floats.push_back(std::bit_cast<float>(i * 21'397u));
  for (float& value : floats) {
    if (!std::isfinite(value) || std::abs(value) > 3e38F) value = 0;
  }
  std::vector<BFloat16> narrow(floats.size());
  EXPECT_EQ(NarrowToBFloat16(StoredType::kF32, std::as_bytes(std::span(floats)), narrow),
            std::nullopt);
  for (size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(narrow[i].bits, ToBFloat16(floats[i]).bits) << i;
  }
}

/// Plants one value at every place that a loop's border may miss.
template <typename T>
void ExpectFound(StoredType type, T good, T bad) {
  for (size_t size : {1u, 7u, 64u, 4096u, 4097u, 9001u}) {
    for (size_t at : {size_t{0}, size / 2, size - 1}) {
      std::vector<T> stored(size, good);
      std::vector<BFloat16> narrow(size);
      EXPECT_EQ(FirstNotFinite(type, std::as_bytes(std::span(stored))), std::nullopt);
      stored[at] = bad;
      stored[size - 1] = bad;
      const auto raw = std::as_bytes(std::span(stored));
      EXPECT_EQ(FirstNotFinite(type, raw), static_cast<int64_t>(at));
      EXPECT_EQ(NarrowToBFloat16(type, raw, narrow), static_cast<int64_t>(at));
    }
  }
}

TEST(Widen, FindsWhatIsNotFinite) {
  ExpectFound<float>(StoredType::kF32, -1.5F, std::numeric_limits<float>::quiet_NaN());
  ExpectFound<float>(StoredType::kF32, 3e38F, -INFINITY);
  ExpectFound<uint16_t>(StoredType::kF16, 0xfbff, 0xfc00);
  ExpectFound<uint16_t>(StoredType::kF16, 0x0001, 0x7c01);
  ExpectFound<uint16_t>(StoredType::kBF16, 0xff7f, 0xff80);
  ExpectFound<uint16_t>(StoredType::kBF16, 0x0000, 0x7fc0);
}

TEST(Widen, ReportsWhatBFloat16CannotHold) {
  const std::vector<float> stored = {1.0F, std::numeric_limits<float>::max()};
  std::vector<BFloat16> narrow(2);
  const auto raw = std::as_bytes(std::span(stored));
  EXPECT_EQ(FirstNotFinite(StoredType::kF32, raw), std::nullopt);
  EXPECT_EQ(NarrowToBFloat16(StoredType::kF32, raw, narrow), 1);
}

TEST(Widen, BlocksHaveTheirSizes) {
  EXPECT_EQ(StoredBytes(StoredType::kF32, 64), 256);
  EXPECT_EQ(StoredBytes(StoredType::kBF16, 64), 128);
  EXPECT_EQ(StoredBytes(StoredType::kQ8_0, 64), 68);
  EXPECT_EQ(StoredBytes(StoredType::kQ4_0, 64), 36);
  EXPECT_EQ(StoredBytes(StoredType::kQ4_1, 64), 40);
  EXPECT_EQ(StoredBytes(StoredType::kQ5_0, 64), 44);
  EXPECT_EQ(StoredBytes(StoredType::kQ5_1, 64), 48);
  EXPECT_EQ(StoredBytes(StoredType::kQ2_K, 512), 168);
  EXPECT_EQ(StoredBytes(StoredType::kQ3_K, 512), 220);
  EXPECT_EQ(StoredBytes(StoredType::kQ4_K, 512), 288);
  EXPECT_EQ(StoredBytes(StoredType::kQ5_K, 512), 352);
  EXPECT_EQ(StoredBytes(StoredType::kQ6_K, 512), 420);
}

}  // namespace
}  // namespace weft::checkpoint
