#include "ops/cuda/few_rows_plan.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

#include "ops/cuda/tensor_map.h"

namespace weft::ops::cuda {
namespace {

constexpr int32_t kBlocks = 132;
/// Beside adapters, and alone.
constexpr std::array kRings = {120 * 1024, 226 * 1024};

GemmParams Product(int32_t rows, int32_t out, int32_t in) {
  GemmParams product;
  product.rows = rows;
  product.out = out;
  product.in = product.h_stride = in;
  return product;
}

std::vector<std::pair<int32_t, int32_t>> RingsAndRows() {
  std::vector<std::pair<int32_t, int32_t>> all;
  for (const int32_t ring : kRings)
    for (const int32_t rows : {1, 8, 9, 16, 17, 24, 25, 32}) all.emplace_back(ring, rows);
  return all;
}

TEST(FewRowsPlan, GivesEveryOutputToABlockAndFitsTheRing) {
  for (const auto& [ring, rows] : RingsAndRows())
    for (int32_t units = 1; units < 40 * kBlocks; units += units < 5 * kBlocks ? 1 : 61) {
      const FewRowsPlan plan = PlanFewRows(Product(rows, units * kUnitOuts, 4096), kBlocks, ring);
      SCOPED_TRACE(testing::Message() << rows << " rows, " << units << " units");
      ASSERT_GE(plan.units * plan.passes * kBlocks, units);
      ASSERT_LE(plan.units * kUnitOuts, 256);  // Rows of a box.
      ASSERT_GE(plan.box_rows, rows);
      ASSERT_LT(plan.box_rows, rows + kFewRowsTile);
      const int32_t stage = (plan.units * kUnitOuts + plan.box_rows) * plan.boxes * kMapRowBytes;
      ASSERT_LE(plan.stages * stage, ring);
      ASSERT_GE(plan.stages, 2);
      if (plan.own_units) continue;
      ASSERT_EQ(plan.passes, 1);
      ASSERT_LE(plan.units, 4);
      ASSERT_EQ(plan.stages % kFewRowsTeams, 0);
    }
}

TEST(FewRowsPlan, OfTheLayersOfAnEightBillionModel) {
  const auto plan = [](int32_t out, int32_t in) {
    return PlanFewRows(Product(16, out, in), kBlocks, kRings.front());
  };
  EXPECT_EQ(plan(6144, 4096).units, 3);
  EXPECT_EQ(plan(4096, 14336).units, 2);
  EXPECT_EQ(plan(28672, 4096).units, 14);
  EXPECT_EQ(plan(28672, 4096).passes, 1);
  EXPECT_TRUE(plan(28672, 4096).own_units);
}

TEST(FewRowsPlan, ServesWholeUnitsAndBoxesOnHopper) {
  const GemmParams product = Product(32, 208, 576);
  EXPECT_TRUE(FewRowsServes(product, kHopperShared));
  EXPECT_FALSE(FewRowsServes(product, 163 * 1024));
  const auto refuses = [&](auto change) {
    GemmParams other = product;
    change(other);
    return !FewRowsServes(other, kHopperShared);
  };
  EXPECT_TRUE(refuses([](GemmParams& other) { other.d_stride = 210; }));
  EXPECT_TRUE(refuses([](GemmParams& other) { other.rows = 33; }));
  EXPECT_TRUE(refuses([](GemmParams& other) { other.out = 200; }));
  EXPECT_TRUE(refuses([](GemmParams& other) { other.in = 544; }));
  EXPECT_TRUE(refuses([](GemmParams& other) { other.h_stride = 580; }));
  EXPECT_TRUE(refuses([](GemmParams& other) { other.dtype = DType::kFloat32; }));
}

}  // namespace
}  // namespace weft::ops::cuda
