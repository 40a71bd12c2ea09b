#include "ops/cuda/cuda_tile_packer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace weft::ops::cuda {
namespace {

constexpr int32_t kRows = 5;
constexpr int32_t kWidth = 8;
constexpr int32_t kIn = 48;
constexpr int32_t kOut = 32;
constexpr int32_t kRank = 21;
constexpr int32_t kFirst = 16;

/// Small whole numbers: exact in bfloat16 as well.
std::vector<float> Numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(1 + i % 250);
  return values;
}

std::vector<BFloat16> Narrow(const std::vector<float>& values) {
  std::vector<BFloat16> narrow;
  for (const float value : values) narrow.push_back(ToBFloat16(value));
  return narrow;
}

float ElementOf(DType dtype, const std::vector<std::byte>& tile, int64_t index) {
  float value = 0;
  BFloat16 narrow;
  if (dtype == DType::kFloat32) {
    std::memcpy(&value, &tile[static_cast<size_t>(index) * 4], 4);
    return value;
  }
  std::memcpy(&narrow, &tile[static_cast<size_t>(index) * 2], 2);
  return ToFloat(narrow);
}

class CudaTilePackerTest : public ::testing::TestWithParam<DType> {
 protected:
  std::vector<std::byte> Poisoned(int64_t elements) const {
    return std::vector<std::byte>(static_cast<size_t>(elements * SizeOf(GetParam())),
                                  std::byte{0xFF});
  }
  const CudaTilePacker packer_{GetParam()};
};

TEST_P(CudaTilePackerTest, AIsRowMajorAndItsSpareRowsAreZero) {
  const auto a = Numbers(size_t{kRows} * kIn);
  auto tile = Poisoned(int64_t{kWidth} * kIn);
  packer_.PackA(a, kRows, kWidth, kIn, tile.data());
  for (int64_t i = 0; i < int64_t{kWidth} * kIn; ++i)
    ASSERT_EQ(ElementOf(GetParam(), tile, i), i < std::ssize(a) ? a[static_cast<size_t>(i)] : 0.0F);
  auto narrow = Poisoned(int64_t{kWidth} * kIn);
  packer_.PackBFloat16A(Narrow(a), kRows, kWidth, kIn, narrow.data());
  EXPECT_EQ(narrow, tile);
}

TEST_P(CudaTilePackerTest, BIsRowMajorAndItsSpareColumnsAreZero) {
  const auto b = Numbers(size_t{kOut} * kRank);
  auto tile = Poisoned(int64_t{kWidth} * kOut);
  packer_.PackB(b, kRank, kFirst, kRows, kWidth, kOut, tile.data());
  for (int64_t n = 0; n < kOut; ++n)
    for (int64_t k = 0; k < kWidth; ++k)
      ASSERT_EQ(ElementOf(GetParam(), tile, n * kWidth + k),
                k < kRows ? b[static_cast<size_t>(n * kRank + kFirst + k)] : 0.0F);
  auto narrow = Poisoned(int64_t{kWidth} * kOut);
  packer_.PackBFloat16B(Narrow(b), kRank, kFirst, kRows, kWidth, kOut, narrow.data());
  EXPECT_EQ(narrow, tile);
}

INSTANTIATE_TEST_SUITE_P(Elements, CudaTilePackerTest,
                         ::testing::Values(DType::kBFloat16, DType::kFloat32));

}  // namespace
}  // namespace weft::ops::cuda
