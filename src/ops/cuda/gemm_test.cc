#include "ops/cuda/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <utility>

#include "base/thread_role.h"
#include "device/cuda/cuda_device.h"
#include "ops/cuda/few_rows_gemm.h"
#include "ops/cuda/few_rows_plan.h"
#include "ops/cuda/poisoned_elements_for_test.h"
#include "ops/cuda/row_padding.h"
#include "ops/cuda/skinny_gemm.h"

namespace weft::ops::cuda {
namespace {

class GemmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto device = device::cuda::CreateDevice(AssertMayBlock);
    if (!device.ok()) GTEST_SKIP() << device.error().message;
    device_ = std::move(device).value();
  }

  std::unique_ptr<device::Device> device_;
};

struct Shape {
  int32_t rows, out, in;
};

/// A product on random elements against sums in double; what lies between rows stays as it was.
void ExpectLikeSumsInDouble(const Shape& shape, DType dtype, DType out_dtype, bool add,
                            const std::function<void(const GemmParams&)>& launch) {
  SCOPED_TRACE(::testing::Message() << shape.rows << "x" << shape.out << "x" << shape.in
                                    << " of type " << static_cast<int>(dtype) << " to "
                                    << static_cast<int>(out_dtype) << (add ? " added" : ""));
  const int64_t stride = (shape.out + 15) / 16 * 16 + 16;
  const auto in = static_cast<size_t>(shape.in);
  const auto weight = RandomElements(static_cast<size_t>(shape.out) * in, 0.05F, dtype, 1);
  const auto h = RandomElements(static_cast<size_t>(shape.rows) * in, 1.0F, dtype, 2);
  const auto before = RandomElements(static_cast<size_t>(shape.rows * stride), 1.0F, out_dtype, 3);
  const PoisonedElements device_weight(dtype, weight);
  const PoisonedElements device_h(dtype, h);
  const PoisonedElements d = PoisonedElements(out_dtype, before);
  GemmParams params;
  params.dtype = dtype;
  params.out_dtype = out_dtype;
  params.weight = device_weight.data();
  params.h = device_h.data();
  params.c = add ? d.data() : nullptr;
  params.d = d.data();
  params.rows = shape.rows;
  params.out = shape.out;
  params.in = shape.in;
  params.h_stride = shape.in;
  params.d_stride = stride;
  launch(params);
  const auto actual = d.Get();
  for (int64_t row = 0; row < shape.rows; ++row)
    for (int64_t column = 0; column < stride; ++column) {
      const auto at = static_cast<size_t>(row * stride + column);
      if (column >= shape.out) {
        ASSERT_EQ(actual[at], before[at]);
        continue;
      }
      double product = 0;
      for (size_t k = 0; k < in; ++k)
        product += double{h[static_cast<size_t>(row) * in + k]} *
                   weight[static_cast<size_t>(column) * in + k];
      const double expected = product + (add ? before[at] : 0.0F);
      // Some of the library's kernels round the product before they add.
      const double size = std::abs(product) + (add ? std::abs(before[at]) : 0.0F);
      const double tolerance =
          out_dtype == DType::kBFloat16 ? size / 128 + 1e-3 : 2e-4 + size * 1e-5;
      ASSERT_NEAR(actual[at], expected, tolerance);
    }
}

TEST_F(GemmTest, LikeSumsInDouble) {
  const auto gemm = std::move(Gemm::Create(*device_, {})).value();
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32})
    for (const DType out_dtype : {dtype, DType::kFloat32})
      for (const bool add : {false, true})
        for (const Shape shape :
             {Shape{1, 64, 64}, Shape{3, 101, 48}, Shape{16, 576, 1536}, Shape{130, 96, 576}})
          ExpectLikeSumsInDouble(shape, dtype, out_dtype, add,
                                 [&](const GemmParams& params) { gemm->Launch(params, nullptr); });
}

TEST_F(GemmTest, SkinnyLikeSumsInDouble) {
  for (const DType out_dtype : {DType::kBFloat16, DType::kFloat32})
    for (const bool add : {false, true})
      for (const int32_t rows : {1, 2, 7, 8, 9, 16})
        for (const auto& [out, in] : {std::pair{16, 128}, std::pair{272, 896},
                                      std::pair{4096, 1024}, std::pair{64, 4096 + 1152}})
          ExpectLikeSumsInDouble({rows, out, in}, DType::kBFloat16, out_dtype, add,
                                 [&](const GemmParams& params) {
                                   ASSERT_TRUE(SkinnyGemmServes(params));
                                   ASSERT_EQ(LaunchSkinnyGemm(params, nullptr), cudaSuccess);
                                 });
}

TEST_F(GemmTest, FewRowsLikeSumsInDouble) {
  int32_t multiprocessors = 0;
  int32_t shared_limit = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0),
            cudaSuccess);
  ASSERT_EQ(cudaDeviceGetAttribute(&shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
            cudaSuccess);
  if (shared_limit < kHopperShared) GTEST_SKIP() << "not a Hopper GPU";
  ASSERT_EQ(PrepareFewRowsGemm(shared_limit), cudaSuccess);
  const auto check = [&](const Shape& shape, DType out_dtype, bool add) {
    ExpectLikeSumsInDouble(shape, DType::kBFloat16, out_dtype, add, [&](const GemmParams& params) {
      ASSERT_TRUE(FewRowsServes(params, shared_limit));
      ASSERT_EQ(LaunchFewRowsGemm(params, multiprocessors, nullptr), cudaSuccess);
    });
  };
  for (const DType out_dtype : {DType::kBFloat16, DType::kFloat32})
    for (const bool add : {false, true})
      for (const int32_t rows : {1, 8, 9, 17, 24, 31, 32}) {
        // The last block that has any unit has one less.
        for (const int32_t units : {1, 2, 3, 4, 5, 14, 18})
          check({rows, (units * multiprocessors - 1) * kUnitOuts, units < 5 ? 192 : 64}, out_dtype,
                add);
        // Around the ring often.
        for (const int32_t out : {kUnitOuts, 3 * kUnitOuts})
          check({rows, out, 8192 + 64}, out_dtype, add);
      }
}

TEST(SkinnyGemm, SaysWhatItServes) {
  GemmParams params;
  params.rows = 16;
  params.out = 4096;
  params.in = params.h_stride = 14336;
  EXPECT_TRUE(SkinnyGemmServes(params));
  const auto refuses = [&](auto change) {
    GemmParams other = params;
    change(other);
    return !SkinnyGemmServes(other);
  };
  EXPECT_TRUE(refuses([](GemmParams& p) { p.rows = 17; }));
  EXPECT_TRUE(refuses([](GemmParams& p) { p.dtype = DType::kFloat32; }));
  EXPECT_TRUE(refuses([](GemmParams& p) { p.out = 4100; }));
  EXPECT_TRUE(refuses([](GemmParams& p) { p.in = 4096 + 64; }));
  EXPECT_TRUE(refuses([](GemmParams& p) { p.h_stride = 14337; }));
}

TEST_F(GemmTest, DeterministicRowsDoNotDependOnTheirNumber) {
  const auto gemm = std::move(Gemm::Create(*device_, {.deterministic = true})).value();
  constexpr int32_t kOut = 1024;
  constexpr int32_t kIn = 4096;
  constexpr int32_t kMost = 512;
  const PoisonedElements weight(DType::kBFloat16,
                                RandomElements(size_t{kOut} * kIn, 0.05F, DType::kBFloat16, 1));
  const PoisonedElements h(DType::kBFloat16,
                           RandomElements(size_t{kMost} * kIn, 1.0F, DType::kBFloat16, 2));
  std::vector<float> first;
  for (const int32_t rows : {kMost, 1, 2, 4, 8, 16, 24, 40, 64, 112, 256, 320}) {
    SCOPED_TRACE(rows);
    ASSERT_EQ(PaddedRows(rows), rows);
    const PoisonedElements d(DType::kFloat32, size_t{kOut} * static_cast<size_t>(rows));
    GemmParams params;
    params.out_dtype = DType::kFloat32;
    params.weight = weight.data();
    params.h = h.data();
    params.d = d.data();
    params.rows = rows;
    params.out = kOut;
    params.in = kIn;
    params.h_stride = kIn;
    params.d_stride = kOut;
    gemm->Launch(params, nullptr);
    const auto actual = d.Get();
    if (first.empty()) first = actual;
    for (size_t i = 0; i < actual.size(); ++i) ASSERT_EQ(actual[i], first[i]) << i;
  }
}

/// Two shapes as a decode has them, one of which adds; returns what they put out.
std::vector<float> TwoProducts(Gemm& gemm, const PoisonedElements& weight,
                               const PoisonedElements& h) {
  std::vector<float> all;
  for (const bool add : {false, true}) {
    const PoisonedElements d(DType::kFloat32, std::vector<float>(16 * 1024, 1.0F));
    GemmParams params;
    params.out_dtype = DType::kFloat32;
    params.weight = weight.data();
    params.h = h.data();
    params.c = add ? d.data() : nullptr;
    params.d = d.data();
    params.rows = 16;
    params.out = 1024;
    params.in = params.h_stride = 512;
    params.d_stride = 1024;
    gemm.Launch(params, nullptr);
    const auto once = d.Get();  // Spoiled where it was measured.
    const PoisonedElements again(DType::kFloat32, std::vector<float>(16 * 1024, 1.0F));
    params.c = add ? again.data() : nullptr;
    params.d = again.data();
    gemm.Launch(params, nullptr);
    for (const float value : again.Get()) all.push_back(value);
  }
  return all;
}

TEST_F(GemmTest, MeasuresAShapeOnceForAllStarts) {
  const std::string folder = ::testing::TempDir() + "gemm_test";
  std::filesystem::remove_all(folder);
  const PoisonedElements weight(DType::kBFloat16,
                                RandomElements(size_t{1024} * 512, 0.05F, DType::kBFloat16, 1));
  const PoisonedElements h(DType::kBFloat16,
                           RandomElements(size_t{16} * 512, 1.0F, DType::kBFloat16, 2));
  const std::span weights(reinterpret_cast<const std::byte*>(weight.data()), 1024 * 512 * 2);
  const auto start = [&](const GemmOptions& options, int32_t measured) {
    const auto gemm = std::move(Gemm::Create(*device_, options)).value();
    gemm->BeginMeasuring(weights);
    const auto values = TwoProducts(*gemm, weight, h);
    gemm->EndMeasuring();
    EXPECT_EQ(gemm->measured(), measured);
    return values;
  };
  const auto expected = start({}, 0);
  const auto expect_close = [&](const std::vector<float>& actual) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) ASSERT_NEAR(actual[i], expected[i], 1e-3F);
  };
  start({.deterministic = true, .folder = folder}, 0);
  EXPECT_FALSE(std::filesystem::exists(folder));
  expect_close(start({.folder = folder}, 2));
  ASSERT_TRUE(std::filesystem::exists(folder));
  const std::string file = std::filesystem::directory_iterator(folder)->path();
  expect_close(start({.folder = folder}, 0));
  std::ofstream(file, std::ios::app) << "damage";
  expect_close(start({.folder = folder}, 2));
  expect_close(start({.folder = folder}, 0));
}

}  // namespace
}  // namespace weft::ops::cuda
