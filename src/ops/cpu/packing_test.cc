#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "ops/cpu/cpu_tile_packer.h"
#include "ops/cpu/elements.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/panel_packing.h"

namespace weft::ops::cpu {
namespace {

/// Random values among those that rounding is about: ties, NaN, infinity, subnormals, zeros.
std::vector<float> Values(int64_t count) {
  std::mt19937 generator(static_cast<uint32_t>(count));
  const uint32_t special[] = {0x00000000, 0x80000000, 0x3f808000, 0x3f818000, 0x3f807fff,
                              0x7f800000, 0xff800000, 0x7f800001, 0x7fffffff, 0xffc00000,
                              0x7f7fffff, 0x00000001, 0x00008000, 0x80018000, 0x7f7f8000};
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const uint32_t bits = generator();
    value = std::bit_cast<float>(bits % 4 == 0 ? special[bits / 4 % std::size(special)] : bits);
  }
  return values;
}

std::vector<BFloat16> Narrow(const std::vector<float>& values) {
  std::vector<BFloat16> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) narrow[i] = ToBFloat16(values[i]);
  return narrow;
}

/// Memory of which nothing may stay as it was.
std::vector<std::byte> Unwritten(DType dtype, int64_t elements) {
  return std::vector<std::byte>(static_cast<size_t>(elements * SizeOf(dtype)), std::byte{0xA5});
}

TEST(PanelPacking, NarrowingRoundsAsToBFloat16Does) {
  for (const int64_t count : {1, 7, 64, 100'003}) {
    const std::vector<float> values = Values(count);
    std::vector<BFloat16> narrow(values.size());
    NarrowToBFloat16(values.data(), count, narrow.data());
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(narrow[i].bits, ToBFloat16(values[i]).bits)
          << std::hex << std::bit_cast<uint32_t>(values[i]);
  }
}

/// dtype, rows, width, in.
class PackA : public ::testing::TestWithParam<std::tuple<DType, int32_t, int32_t, int32_t>> {};

TEST_P(PackA, IsThePlainFormula) {
  const auto [dtype, rows, width, in] = GetParam();
  if (rows > width) GTEST_SKIP();
  const std::vector<float> a = Values(int64_t{rows} * in);
  const int64_t pair = PairOf(dtype);
  std::vector<std::byte> plain = Unwritten(dtype, int64_t{width} * in);
  for (int64_t r = 0; r < width; ++r)
    for (int64_t k = 0; k < in; ++k)
      StoreElement(dtype, plain.data(), (k / pair * width + r) * pair + k % pair,
                   r < rows ? a[static_cast<size_t>(r * in + k)] : 0.0F);
  const CpuTilePacker packer(dtype);
  std::vector<std::byte> tile = Unwritten(dtype, int64_t{width} * in);
  packer.PackA(a, rows, width, in, tile.data());
  EXPECT_EQ(tile, plain);
  if (dtype != DType::kBFloat16) return;
  tile = Unwritten(dtype, int64_t{width} * in);
  packer.PackBFloat16A(Narrow(a), rows, width, in, tile.data());
  EXPECT_EQ(tile, plain);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackA,
                         ::testing::Combine(::testing::Values(DType::kBFloat16, DType::kFloat32),
                                            ::testing::Values(1, 3, 8, 13, 16),
                                            ::testing::Values(8, 16),
                                            ::testing::Values(2, 6, 16, 34, 576)));

/// dtype, rank, out; every tile of it.
class PackB : public ::testing::TestWithParam<std::tuple<DType, int32_t, int32_t>> {};

TEST_P(PackB, IsThePlainFormula) {
  const auto [dtype, rank, out] = GetParam();
  const std::vector<float> b = Values(int64_t{out} * rank);
  const CpuTilePacker packer(dtype);
  const int64_t pair = PairOf(dtype);
  int32_t first = 0;
  for (const int32_t width : RankTileWidths(rank)) {
    const int32_t columns = std::min(width, rank - first);
    std::vector<std::byte> plain = Unwritten(dtype, int64_t{width} * out);
    for (int64_t n = 0; n < out; ++n) {
      const int64_t panel = n / kPanelColumns * kPanelColumns * width;
      for (int64_t k = 0; k < width; ++k)
        StoreElement(dtype, plain.data(),
                     panel + (k / pair * kPanelColumns + n % kPanelColumns) * pair + k % pair,
                     k < columns ? b[static_cast<size_t>(n * rank + first + k)] : 0.0F);
    }
    std::vector<std::byte> tile = Unwritten(dtype, int64_t{width} * out);
    packer.PackB(b, rank, first, columns, width, out, tile.data());
    EXPECT_EQ(tile, plain) << "tile at rank " << first;
    if (dtype == DType::kBFloat16) {
      tile = Unwritten(dtype, int64_t{width} * out);
      packer.PackBFloat16B(Narrow(b), rank, first, columns, width, out, tile.data());
      EXPECT_EQ(tile, plain) << "tile at rank " << first;
    }
    first += width;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackB,
                         ::testing::Combine(::testing::Values(DType::kBFloat16, DType::kFloat32),
                                            ::testing::Values(1, 3, 8, 12, 16, 21, 64, 100),
                                            ::testing::Values(16, 48, 576)));

TEST(TilePacker, AFloatPackerTakesBFloat16Too) {
  const CpuTilePacker packer(DType::kFloat32);
  const std::vector<BFloat16> values = Narrow(Values(16 * 32));
  std::vector<float> wide;
  for (const BFloat16 value : values) wide.push_back(ToFloat(value));
  std::vector<std::byte> expected = Unwritten(DType::kFloat32, 16 * 32);
  std::vector<std::byte> tile = expected;
  packer.PackA(wide, 16, 16, 32, expected.data());
  packer.PackBFloat16A(values, 16, 16, 32, tile.data());
  EXPECT_EQ(tile, expected);
  packer.PackB(wide, 16, 0, 16, 16, 32, expected.data());
  packer.PackBFloat16B(values, 16, 0, 16, 16, 32, tile.data());
  EXPECT_EQ(tile, expected);
}

}  // namespace
}  // namespace weft::ops::cpu
