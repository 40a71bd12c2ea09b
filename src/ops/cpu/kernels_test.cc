#include "ops/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/bfloat16.h"
#include "ops/cpu/elements.h"
#include "ops/cpu/sampler.h"

namespace weft::ops::cpu {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Variant {
  Isa isa;
  DType dtype;
};

/// Elements as kernels take them, and their values widened again.
struct Elements {
  std::vector<std::byte> bytes;
  std::vector<float> values;
  DType dtype = DType::kBFloat16;

  float At(size_t i) const {
    if (dtype == DType::kFloat32) {
      float value;
      std::memcpy(&value, &bytes[i * 4], 4);
      return value;
    }
    BFloat16 narrow;
    std::memcpy(&narrow, &bytes[i * 2], 2);
    return ToFloat(narrow);
  }
};

class KernelsTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    Isa best;
    if (!ChooseIsa(&best) || (GetParam().isa == Isa::kAvx512Bf16 && best != Isa::kAvx512Bf16))
      GTEST_SKIP() << "this processor has no " << IsaName(GetParam().isa);
  }
  const Kernels& kernels() const { return KernelsFor(GetParam().isa, GetParam().dtype); }
  DType dtype() const { return GetParam().dtype; }
  size_t element() const { return static_cast<size_t>(SizeOf(dtype())); }
  double tolerance() const { return dtype() == DType::kFloat32 ? 2e-5 : 1e-2; }

  std::vector<float> RandomFloats(size_t count, float scale = 1.0F) {
    std::normal_distribution<float> distribution(0.0F, scale);
    std::vector<float> values(count);
    for (float& value : values) value = distribution(generator_);
    return values;
  }
  Elements RandomElements(size_t count) {
    Elements elements{std::vector<std::byte>(count * element()), {}, dtype()};
    const std::vector<float> values = RandomFloats(count);
    for (size_t i = 0; i < count; ++i) {
      StoreElement(dtype(), elements.bytes.data(), static_cast<int64_t>(i), values[i]);
      elements.values.push_back(elements.At(i));
    }
    return elements;
  }
  Elements Poisoned(size_t count) const {
    return {std::vector<std::byte>(count * element(), std::byte{0xFF}), {}, dtype()};
  }
  /// Element (k, column) of a panel that is `width` wide.
  size_t InPanel(size_t k, size_t column, size_t width = kPanelColumns) const {
    const auto pair = static_cast<size_t>(PairOf(dtype()));
    return (k / pair * width + column) * pair + k % pair;
  }

  std::mt19937 generator_{1};
};

TEST_P(KernelsTest, GemmLikeReferenceWhateverTheShape) {
  for (const int32_t k : {2, 16, 30, 64, 576})
    for (const int32_t panels : {1, 2, 3, 5})
      for (const int32_t rows : {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 24, 31}) {
        const int32_t a_stride = k + 6;
        const int32_t c_stride = panels * 16 + 3;
        const Elements a = RandomElements(static_cast<size_t>(rows * a_stride));
        const Elements b = RandomElements(static_cast<size_t>(panels * 16 * k));
        std::vector<float> c(static_cast<size_t>(rows * c_stride), kNan);
        GemmArgs args{a.bytes.data(), a_stride, b.bytes.data(), int64_t{16} * k, k,
                      c.data(),       c_stride, rows,           panels,          false};
        kernels().gemm(args);
        std::vector<float> twice = c;
        args.c = twice.data();
        args.accumulate = true;
        kernels().gemm(args);
        for (int32_t r = 0; r < rows; ++r)
          for (int32_t n = 0; n < c_stride; ++n) {
            const auto at = static_cast<size_t>(r * c_stride + n);
            if (n >= panels * 16) {
              ASSERT_TRUE(std::isnan(c[at])) << "wrote past its columns";
              continue;
            }
            double sum = 0;
            for (int32_t i = 0; i < k; ++i)
              sum += double{a.values[static_cast<size_t>(r * a_stride + i)]} *
                     b.values[static_cast<size_t>(n / 16 * 16 * k) +
                              InPanel(static_cast<size_t>(i), static_cast<size_t>(n % 16))];
            ASSERT_NEAR(c[at], sum, 1e-4 * std::sqrt(k)) << rows << "x" << panels << "x" << k;
            ASSERT_NEAR(twice[at], 2 * sum, 2e-4 * std::sqrt(k));
          }
      }
}

TEST_P(KernelsTest, GemmRowsHaveTheSameBitsAlone) {
  constexpr int32_t kDepth = 96;
  constexpr int32_t kRows = 47;
  constexpr int32_t kPanels = 5;
  const Elements a = RandomElements(kRows * kDepth);
  const Elements b = RandomElements(kPanels * 16 * kDepth);
  const auto run = [&](int32_t first, int32_t rows, int32_t first_panel, int32_t panels,
                       int32_t cut) {
    std::vector<float> c(static_cast<size_t>(rows * panels * 16), kNan);
    for (int32_t k = 0; k < kDepth; k += cut)
      kernels().gemm(
          {a.bytes.data() + static_cast<size_t>(first * kDepth + k) * element(), kDepth,
           b.bytes.data() + static_cast<size_t>(first_panel * 16 * kDepth + k * 16) * element(),
           16 * kDepth, cut, c.data(), panels * 16, rows, panels, k > 0});
    return c;
  };
  const std::vector<float> all = run(0, kRows, 0, kPanels, kDepth);
  for (int32_t first = 0; first < kRows; ++first)
    for (const int32_t rows : {1, 2, 6, 9, 13})
      for (const int32_t panel : {0, 3, 4}) {
        if (first + rows > kRows) continue;
        const std::vector<float> some = run(first, rows, panel, 1, rows % 2 == 0 ? 32 : kDepth);
        for (int32_t r = 0; r < rows; ++r)
          ASSERT_EQ(std::memcmp(&some[static_cast<size_t>(r * 16)],
                                &all[static_cast<size_t>((first + r) * kPanels * 16 + panel * 16)],
                                16 * sizeof(float)),
                    0);
      }
}

TEST_P(KernelsTest, ShrinkLikeReferenceAndRowsAlone) {
  for (const int32_t width : {8, 16})
    for (const int32_t in : {16, 34, 576})
      for (const int32_t rows : {1, 3, 4, 9}) {
        const int32_t out_stride = width + 4;
        const Elements x = RandomElements(static_cast<size_t>(rows * in));
        const Elements tile = RandomElements(static_cast<size_t>(width * in));
        Elements out = Poisoned(static_cast<size_t>(rows * out_stride));
        ShrinkArgs args{x.bytes.data(),   in,        rows, in, tile.bytes.data(), width, 0.25F,
                        out.bytes.data(), out_stride};
        kernels().shrink(args);
        Elements alone = Poisoned(static_cast<size_t>(width));
        for (int32_t r = 0; r < rows; ++r) {
          ShrinkArgs single = args;
          single.x = x.bytes.data() + static_cast<size_t>(r * in) * element();
          single.rows = 1;
          single.out = alone.bytes.data();
          kernels().shrink(single);
          for (int32_t n = 0; n < out_stride; ++n) {
            const float actual = out.At(static_cast<size_t>(r * out_stride + n));
            if (n >= width) {
              ASSERT_TRUE(std::isnan(actual));
              continue;
            }
            double sum = 0;
            for (int32_t i = 0; i < in; ++i)
              sum += double{x.values[static_cast<size_t>(r * in + i)]} *
                     tile.values[InPanel(static_cast<size_t>(i), static_cast<size_t>(n),
                                         static_cast<size_t>(width))];
            ASSERT_NEAR(actual, sum * 0.25, std::abs(sum * 0.25) * tolerance() + 1e-4);
            ASSERT_EQ(actual, alone.At(static_cast<size_t>(n)));
          }
        }
      }
}

TEST_P(KernelsTest, RmsNormLikeReference) {
  for (const int32_t n : {16, 33, 64, 576, 1000}) {
    const std::vector<float> x = RandomFloats(static_cast<size_t>(n), 3.0F);
    const std::vector<float> weight = RandomFloats(static_cast<size_t>(n));
    Elements out = Poisoned(static_cast<size_t>(n + 1));
    kernels().rms_norm(x.data(), weight.data(), n, 1e-5F, out.bytes.data());
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const double inverse = 1.0 / std::sqrt(squares / n + 1e-5);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = x[i] * inverse * weight[i];
      ASSERT_NEAR(out.At(i), expected, std::abs(expected) * tolerance() + 1e-6);
    }
    ASSERT_TRUE(std::isnan(out.At(x.size())));
  }
}

TEST_P(KernelsTest, SiluMultiplyLikeReference) {
  for (const int32_t n : {16, 20, 96}) {
    std::vector<float> gate = RandomFloats(static_cast<size_t>(n), 20.0F);
    gate[0] = -200.0F;
    gate[1] = 200.0F;
    const std::vector<float> up = RandomFloats(static_cast<size_t>(n));
    Elements out = Poisoned(static_cast<size_t>(n + 1));
    kernels().silu_multiply(gate.data(), up.data(), n, out.bytes.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      const double expected = gate[i] / (1.0 + std::exp(-double{gate[i]})) * up[i];
      ASSERT_NEAR(out.At(i), expected, std::abs(expected) * tolerance() + 1e-6) << gate[i];
    }
    ASSERT_TRUE(std::isnan(out.At(gate.size())));
  }
  const float nan[16] = {kNan};
  const float one[16] = {1.0F};
  Elements out = Poisoned(16);
  kernels().silu_multiply(nan, one, 16, out.bytes.data());
  EXPECT_TRUE(std::isnan(out.At(0)));
}

TEST_P(KernelsTest, AddRowAddsBiasToo) {
  const std::vector<float> c = RandomFloats(21);
  const std::vector<float> bias = RandomFloats(21);
  const std::vector<float> start = RandomFloats(22);
  std::vector<float> x = start;
  kernels().add_row(c.data(), nullptr, 21, x.data());
  for (size_t i = 0; i < 21; ++i) ASSERT_FLOAT_EQ(x[i], start[i] + c[i]);
  kernels().add_row(c.data(), bias.data(), 21, x.data());
  for (size_t i = 0; i < 21; ++i) ASSERT_NEAR(x[i], start[i] + 2 * c[i] + bias[i], 1e-5);
  ASSERT_EQ(x[21], start[21]);
}

TEST_P(KernelsTest, FinishHeadLikeReference) {
  for (const int32_t size : {16, 48, 64, 80, 256}) {
    const auto count = static_cast<size_t>(size);
    const std::vector<float> row = RandomFloats(count);
    const std::vector<float> bias = RandomFloats(count);
    const std::vector<float> norm = RandomFloats(count);
    const std::vector<float> rope = RandomFloats(count);
    for (int parts = 0; parts < 8; ++parts) {
      std::vector<float> actual = row;
      std::vector<double> expected(row.begin(), row.end());
      HeadArgs args{actual.data(), size, nullptr, nullptr, 1e-6F, nullptr};
      if (parts & 1) {
        args.bias = bias.data();
        for (size_t i = 0; i < count; ++i) expected[i] += bias[i];
      }
      if (parts & 2) {
        args.norm = norm.data();
        double squares = 0;
        for (const double value : expected) squares += value * value;
        for (size_t i = 0; i < count; ++i)
          expected[i] *= norm[i] / std::sqrt(squares / size + 1e-6);
      }
      if (parts & 4) {
        args.rope = rope.data();
        const size_t half = count / 2;
        for (size_t i = 0; i < half; ++i) {
          const double a = expected[i];
          const double b = expected[i + half];
          expected[i] = a * rope[i] - b * rope[half + i];
          expected[i + half] = b * rope[i] + a * rope[half + i];
        }
      }
      kernels().finish_head(args);
      for (size_t i = 0; i < count; ++i)
        ASSERT_NEAR(actual[i], expected[i], 1e-4 * (1 + std::abs(expected[i])));
    }
  }
}

TEST_P(KernelsTest, LargestTakesTheFirstAndPassesOverNan) {
  std::vector<float> x = RandomFloats(1003);
  x[1001] = 50.0F;
  EXPECT_EQ(kernels().largest(x.data(), 1003), 1001);
  x[17] = 50.0F;
  EXPECT_EQ(kernels().largest(x.data(), 1003), 17);
  for (const size_t i : {0, 16, 17, 500, 1002}) x[i] = kNan;
  EXPECT_EQ(kernels().largest(x.data(), 1003), 1001);
  EXPECT_EQ(kernels().largest(std::vector<float>(40, kNan).data(), 40), -1);
  EXPECT_EQ(kernels().largest(std::vector<float>(40, -INFINITY).data(), 40), 0);
}

/// Rows are looked at in blocks of 1,024.
TEST_P(KernelsTest, LargestOfManyIsTheFirstOfItsEquals) {
  std::vector<float> x = RandomFloats(5003);
  for (const size_t i : {5002, 4096, 3000, 2047, 1024, 1023, 3}) {
    x[i] = 50.0F;
    EXPECT_EQ(kernels().largest(x.data(), 5003), static_cast<int32_t>(i));
  }
  x[4999] = 51.0F;
  EXPECT_EQ(kernels().largest(x.data(), 5003), 4999);
  std::vector<float> infinite(5003, kNan);
  infinite[3000] = -INFINITY;
  EXPECT_EQ(kernels().largest(infinite.data(), 5003), 3000);
}

TEST_P(KernelsTest, SumExpLikeReference) {
  for (const int32_t n : {1, 15, 16, 63, 64, 200, 5003}) {
    const std::vector<float> x = RandomFloats(static_cast<size_t>(n), 10.0F);
    double sum = 0;
    for (const float value : x) sum += std::exp((double{value} - 12.0) * 0.7);
    EXPECT_NEAR(kernels().sum_exp(x.data(), n, 12.0F, 0.7F), sum, sum * 1e-5);
  }
}

TEST_P(KernelsTest, RaceIsWonByWhomTheDefinitionSays) {
  for (const int32_t n : {1, 17, 64, 65, 1000, 49152}) {
    const std::vector<float> logits = RandomFloats(static_cast<size_t>(n), 3.0F);
    const float max = *std::max_element(logits.begin(), logits.end());
    for (uint32_t position = 0; position < 20; ++position) {
      const uint64_t seed = 0x123456789ABCDEFu + position * 77;
      const int32_t winner = kernels().race({logits.data(), n, max, 1.0F / 0.8F, seed, position});
      double best = INFINITY;
      int32_t expected = -1;
      for (int32_t i = 0; i < n; ++i) {
        const double weight = std::exp((double{logits[static_cast<size_t>(i)]} - max) / 0.8);
        const double time = -std::log(double{DrawFor(seed, position, i)}) / weight;
        if (time < best) {
          best = time;
          expected = i;
        }
      }
      ASSERT_EQ(winner, expected) << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, KernelsTest,
                         ::testing::Values(Variant{Isa::kAvx512Bf16, DType::kBFloat16},
                                           Variant{Isa::kAvx512Bf16, DType::kFloat32},
                                           Variant{Isa::kAvx2, DType::kBFloat16},
                                           Variant{Isa::kAvx2, DType::kFloat32}),
                         [](const auto& info) {
                           return std::string(IsaName(info.param.isa)) +
                                  (info.param.dtype == DType::kFloat32 ? "Float32" : "Bfloat16");
                         });

}  // namespace
}  // namespace weft::ops::cpu
