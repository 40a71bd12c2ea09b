#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <random>
#include <set>

#include "base/bfloat16.h"
#include "ops/cpu/cpu_tile_packer.h"
#include "ops/kv_layout.h"
#include "ops/lora.h"
#include "ops/rope.h"

namespace weft::ops {
namespace {

ModelConfig SmolLm() {
  ModelConfig config;
  config.layers = 30;
  config.kv_heads = 3;
  config.head_dim = 64;
  return config;
}

TEST(KvLayoutTest, APageIsSixteenTokensOfEveryLayer) {
  const KvLayout layout = KvLayout::For(SmolLm(), DType::kBFloat16, 0);
  EXPECT_EQ(layout.tokens_per_page, 16);
  EXPECT_EQ(layout.page_bytes, 360 * kKiB);
  EXPECT_EQ(KvLayout::For(SmolLm(), DType::kFloat32, 0).page_bytes, 720 * kKiB);
}

TEST(KvLayoutTest, GrowsByGroupsToHoldATile) {
  const KvLayout exact = KvLayout::For(SmolLm(), DType::kBFloat16, 360 * kKiB);
  EXPECT_EQ(exact.tokens_per_page, 16);
  const KvLayout more = KvLayout::For(SmolLm(), DType::kBFloat16, 360 * kKiB + 1);
  EXPECT_EQ(more.tokens_per_page, 32);
  EXPECT_EQ(more.page_bytes, 720 * kKiB);
}

TEST(KvLayoutTest, HeadsFillAPageWithoutGapOrOverlap) {
  const KvLayout layout = KvLayout::For(SmolLm(), DType::kBFloat16, 800 * kKiB);
  ASSERT_EQ(layout.tokens_per_page, 48);
  std::set<Bytes> offsets;
  for (int32_t layer = 0; layer < 30; ++layer)
    for (int32_t head = 0; head < 3; ++head)
      for (const bool v : {false, true}) offsets.insert(layout.HeadOffset(layer, head, v));
  ASSERT_EQ(offsets.size(), 180u);
  Bytes expected = 0;
  for (const Bytes offset : offsets) {
    EXPECT_EQ(offset, expected);
    expected += 3 * layout.group_bytes();
  }
  EXPECT_EQ(expected, layout.page_bytes);
}

TEST(RankTileTest, SixteensAndARestInEights) {
  EXPECT_TRUE(RankTileWidths(0).empty());
  EXPECT_EQ(RankTileWidths(1), (std::vector<int32_t>{8}));
  EXPECT_EQ(RankTileWidths(8), (std::vector<int32_t>{8}));
  EXPECT_EQ(RankTileWidths(9), (std::vector<int32_t>{16}));
  EXPECT_EQ(RankTileWidths(16), (std::vector<int32_t>{16}));
  EXPECT_EQ(RankTileWidths(20), (std::vector<int32_t>{16, 8}));
  EXPECT_EQ(RankTileWidths(64), (std::vector<int32_t>{16, 16, 16, 16}));
}

TEST(RopeTest, PlainAndLinear) {
  RopeConfig rope;
  rope.theta = 10000.0;
  const auto plain = RopeFrequencies(rope, 64);
  ASSERT_EQ(plain.size(), 32u);
  EXPECT_FLOAT_EQ(plain[0], 1.0F);
  EXPECT_NEAR(plain[16], 0.01, 1e-8);
  rope.scaling = RopeScaling::kLinear;
  rope.factor = 4.0;
  EXPECT_FLOAT_EQ(RopeFrequencies(rope, 64)[16], plain[16] / 4.0F);
}

TEST(RopeTest, LlamaThreeKeepsShortWavesAndStretchesLongOnes) {
  const RopeConfig rope = {500000.0, RopeScaling::kLlama3, 8.0, 1.0, 4.0, 8192};
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  const auto scaled = RopeFrequencies(rope, 128);
  const auto unscaled = RopeFrequencies(plain, 128);
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / unscaled[i];
    if (wavelength < 2048) {
      EXPECT_FLOAT_EQ(scaled[i], unscaled[i]);
    } else if (wavelength > 8192) {
      EXPECT_FLOAT_EQ(scaled[i], unscaled[i] / 8.0F);
    } else {
      EXPECT_LT(scaled[i], unscaled[i]);
      EXPECT_GT(scaled[i], unscaled[i] / 8.0F);
    }
  }
}

TEST(RopeTest, RowHoldsCosinesThenSines) {
  const std::vector<float> frequencies = {1.0F, 0.5F};
  float row[4];
  RopeRow(frequencies, 3, row);
  EXPECT_FLOAT_EQ(row[0], std::cos(3.0F));
  EXPECT_FLOAT_EQ(row[1], std::cos(1.5F));
  EXPECT_FLOAT_EQ(row[2], std::sin(3.0F));
  EXPECT_FLOAT_EQ(row[3], std::sin(1.5F));
}

/// A packer must write every element of a tile exactly once, whatever the order.
TEST(TilePackerTest, KeepsEveryElementOnceAndFillsTheRestWithZero) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    const cpu::CpuTilePacker packer(dtype);
    const auto element = static_cast<size_t>(SizeOf(dtype));
    constexpr int64_t kIn = 48;
    constexpr int64_t kOut = 32;
    constexpr int64_t kRank = 21;
    constexpr int64_t kFirst = 16;
    constexpr int64_t kRows = 5;
    constexpr int64_t kWidth = 8;
    std::vector<float> a(kRows * kIn);
    std::vector<float> b(kOut * kRank);
    // Small whole numbers: exact in bfloat16 as well.
    for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(1 + i);
    for (size_t i = 0; i < b.size(); ++i)
      b[i] = static_cast<float>(i % kRank < kFirst ? -1 : 1 + i % 250);
    const auto sorted = [&](const std::vector<std::byte>& tile) {
      std::vector<float> values;
      for (size_t i = 0; i < tile.size(); i += element) {
        float value = 0;
        if (dtype == DType::kFloat32) {
          std::memcpy(&value, &tile[i], 4);
        } else {
          BFloat16 narrow;
          std::memcpy(&narrow, &tile[i], 2);
          value = ToFloat(narrow);
        }
        values.push_back(value);
      }
      std::sort(values.begin(), values.end());
      return values;
    };
    std::vector<std::byte> tile(kWidth * kIn * element, std::byte{0xFF});
    packer.PackA(a, kRows, kWidth, kIn, tile.data());
    std::vector<float> expected(static_cast<size_t>((kWidth - kRows) * kIn));
    for (const float value : a)
      expected.push_back(dtype == DType::kFloat32 ? value : ToFloat(ToBFloat16(value)));
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(sorted(tile), expected);

    tile.assign(kWidth * kOut * element, std::byte{0xFF});
    packer.PackB(b, kRank, kFirst, kRows, kWidth, kOut, tile.data());
    expected.assign(static_cast<size_t>((kWidth - kRows) * kOut), 0.0F);
    for (int64_t n = 0; n < kOut; ++n)
      for (int64_t k = kFirst; k < kFirst + kRows; ++k)
        expected.push_back(b[static_cast<size_t>(n * kRank + k)]);
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(sorted(tile), expected);
  }
}

}  // namespace
}  // namespace weft::ops
