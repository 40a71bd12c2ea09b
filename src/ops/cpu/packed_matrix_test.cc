#include "ops/cpu/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/bfloat16.h"
#include "device/device.h"
#include "ops/cpu/coded_panel.h"
#include "ops/cpu/elements.h"

namespace weft::ops::cpu {
namespace {

enum class Contents : uint8_t {
  kNormal,  ///< As weights are: a few exceptions in a panel.
  kWide,    ///< Exponents from 2^-60 to 2^60, evenly: no panel can be coded.
  kEverySecondPanelWide,
  kAnyBits,  ///< NaN, infinity, subnormals.
};

struct Variant {
  Isa isa;
  DType dtype;
  Contents contents;
};

std::string VariantName(const ::testing::TestParamInfo<Variant>& info) {
  constexpr const char* kNames[] = {"Normal", "Wide", "EverySecondPanelWide", "AnyBits"};
  return std::string(IsaName(info.param.isa)) +
         (info.param.dtype == DType::kFloat32 ? "Float32" : "Bfloat16") +
         kNames[static_cast<size_t>(info.param.contents)];
}

class PackedMatrixTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    Isa best;
    if (!ChooseIsa(&best) || (GetParam().isa == Isa::kAvx512Bf16 && best != Isa::kAvx512Bf16))
      GTEST_SKIP() << "this processor has no " << IsaName(GetParam().isa);
  }
  const Kernels& kernels() const { return KernelsFor(GetParam().isa, dtype()); }
  DType dtype() const { return GetParam().dtype; }

  BFloat16 Value(int32_t row) {
    std::normal_distribution<float> normal(0.0F, 0.02F);
    std::uniform_int_distribution<int> exponent(-60, 60);
    const Contents contents = GetParam().contents;
    if (contents == Contents::kAnyBits) return {static_cast<uint16_t>(generator_())};
    const bool wide = contents == Contents::kWide ||
                      (contents == Contents::kEverySecondPanelWide && row / kPanelColumns % 2 == 1);
    const float value = normal(generator_);
    // One in ten thousand is far smaller than the others.
    if (!wide) return ToBFloat16(generator_() % 10000 == 0 ? value * 1e-9F : value);
    return ToBFloat16(std::ldexp(value, exponent(generator_)));
  }
  std::vector<BFloat16> Values(int32_t out, int32_t in) {
    std::vector<BFloat16> values;
    for (int32_t row = 0; row < out; ++row)
      for (int32_t k = 0; k < in; ++k) values.push_back(Value(row));
    return values;
  }
  std::unique_ptr<Matrix> MakeMatrix(int32_t out, int32_t in, const std::vector<BFloat16>& values,
                                     bool from_floats) {
    auto matrix = std::move(PackedMatrix::Create(memory_, kernels(), dtype(), out, in)).value();
    for (int32_t first = 0; first < out; first += 32) {
      const int32_t rows = std::min(32, out - first);
      const std::span<const BFloat16> some = std::span(values).subspan(
          static_cast<size_t>(int64_t{first} * in), static_cast<size_t>(int64_t{rows} * in));
      if (!from_floats) {
        matrix->SetBFloat16Rows(first, rows, some);
        continue;
      }
      std::vector<float> wide;
      for (const BFloat16 value : some) wide.push_back(ToFloat(value));
      matrix->SetRows(first, rows, wide);
    }
    return matrix;
  }
  /// [panels][in / pair][16][pair]
  std::vector<std::byte> PlainPanels(int32_t out, int32_t in, const std::vector<BFloat16>& values) {
    const int64_t pair = PairOf(dtype());
    const int64_t stride = int64_t{kPanelColumns} * in;
    const int64_t panels = (int64_t{out} + kPanelColumns - 1) / kPanelColumns;
    std::vector<std::byte> plain(static_cast<size_t>(panels * stride * SizeOf(dtype())));
    for (int64_t n = 0; n < out; ++n)
      for (int64_t k = 0; k < in; ++k)
        StoreElement(dtype(), plain.data(),
                     n / kPanelColumns * stride + k / pair * kPanelColumns * pair +
                         n % kPanelColumns * pair + k % pair,
                     ToFloat(values[static_cast<size_t>(n * in + k)]));
    return plain;
  }

  std::mt19937 generator_{7};
  const std::unique_ptr<device::Device> device_ = device::CreateCpuDevice();
  WeightMemory memory_{*device_};
};

TEST_P(PackedMatrixTest, RowsComeBackBitForBit) {
  for (const int32_t out : {16, 33, 100})
    for (const int32_t in : {16, 48, 576, 8192})
      for (const bool from_floats : {false, true}) {
        std::vector<BFloat16> values = Values(out, in);
        if (from_floats)  // Rounding makes NaNs quiet.
          for (BFloat16& value : values) value = ToBFloat16(ToFloat(value));
        const auto made = MakeMatrix(out, in, values, from_floats);
        const auto& matrix = static_cast<const PackedMatrix&>(*made);
        for (int32_t row = 0; row < out; ++row) {
          std::vector<float> read(static_cast<size_t>(in) + 1, -1.0F);
          kernels().unpack_row(matrix.Panel(0), matrix.panel_bytes(), row, in, read.data());
          for (int32_t k = 0; k < in; ++k)
            ASSERT_EQ(std::bit_cast<uint32_t>(read[static_cast<size_t>(k)]),
                      uint32_t{values[static_cast<size_t>(row * in + k)].bits} << 16)
                << "row " << row << ", k " << k;
          ASSERT_EQ(read.back(), -1.0F) << "wrote past its row";
        }
      }
}

TEST_P(PackedMatrixTest, TakesWhatWasSaidBeforeItsValuesWereKnownWherePanelsAreCoded) {
  const bool all_coded =
      kernels().code_panel == nullptr || GetParam().contents == Contents::kNormal;
  for (const int32_t out : {33, 96}) {
    const auto made = MakeMatrix(out, 576, Values(out, 576), false);
    if (all_coded) {
      EXPECT_EQ(PackedMatrix::BytesOf(kernels(), out, 576), made->bytes());
    } else {
      EXPECT_LT(PackedMatrix::BytesOf(kernels(), out, 576), made->bytes());
    }
  }
}

TEST(MatrixBytesTest, OperatorsSayWhatTheirMatricesTake) {
  ModelConfig config;
  config.vocabulary = config.hidden = config.intermediate = 64;
  config.layers = 1;
  config.heads = config.kv_heads = 4;
  config.head_dim = 16;
  const auto device = device::CreateCpuDevice();
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    OperatorsOptions options;
    options.dtype = dtype;
    options.max_rows = 1;
    options.kv = KvLayout::For(config, dtype, 0);
    auto operators = CreateOperators(*device, config, options);
    ASSERT_TRUE(operators.ok()) << operators.error().message;
    const auto matrix = std::move((*operators)->CreateMatrix(33, 576)).value();
    EXPECT_EQ((*operators)->MatrixBytes(33, 576), matrix->bytes());
  }
}

/// Whatever form the panels have, rows come in whatever company, and k is cut wherever.
TEST_P(PackedMatrixTest, ProductsHaveTheBitsOfThoseWithPlainPanels) {
  if (GetParam().contents == Contents::kAnyBits) GTEST_SKIP() << "NaN and infinity meet";
  constexpr int32_t kMostRows = 200;
  for (const int32_t in : {16, 576, 1600, 4096})
    for (const int32_t panels : {1, 2, 5}) {
      const int32_t out = panels * kPanelColumns;
      const std::vector<BFloat16> values = Values(out, in);
      const std::vector<std::byte> plain = PlainPanels(out, in, values);
      const auto made = MakeMatrix(out, in, values, false);
      const auto& matrix = static_cast<const PackedMatrix&>(*made);
      std::normal_distribution<float> normal(0.0F, 1.0F);
      std::vector<std::byte> a(static_cast<size_t>(kMostRows * in * SizeOf(dtype())));
      for (int32_t i = 0; i < kMostRows * in; ++i)
        StoreElement(dtype(), a.data(), i, normal(generator_));
      for (const int32_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 31, kMostRows})
        for (const int32_t cut : {in, 8, 568}) {
          std::vector<float> c(static_cast<size_t>(rows * out), 3.0F);
          std::vector<float> expected(c.size(), -3.0F);
          kernels().gemm({a.data(), in, plain.data(), int64_t{kPanelColumns} * in, in,
                          expected.data(), out, rows, panels, false});
          for (int32_t k = 0; k < in; k += cut)
            kernels().weight_gemm({a.data() + k * SizeOf(dtype()), in, matrix.Panel(0),
                                   matrix.panel_bytes(), panels, in, k, std::min(cut, in - k),
                                   c.data(), out, rows, k > 0,
                                   cut == 8 ? matrix.Panel(panels - 1) : nullptr});
          ASSERT_EQ(std::memcmp(c.data(), expected.data(), c.size() * sizeof(float)), 0)
              << rows << " rows, " << panels << " panels, in " << in << ", cut at " << cut;
        }
    }
}

TEST_P(PackedMatrixTest, TrainedWeightsTakeThreeQuartersOfTheirSizeWhereTheyAreCoded) {
  const int32_t out = 64;
  const int32_t in = 1536;
  const auto matrix = MakeMatrix(out, in, Values(out, in), false);
  const double plain = static_cast<double>(out) * in * static_cast<double>(SizeOf(dtype()));
  const double share = static_cast<double>(matrix->bytes()) / plain;
  if (kernels().code_panel == nullptr) {
    EXPECT_EQ(share, 1.0);
    return;
  }
  // A panel that cannot be coded is kept beside its coded place.
  const std::array expected = {0.75, 1.75, 1.25, 1.75};
  EXPECT_NEAR(share, expected[static_cast<size_t>(GetParam().contents)], 0.005);
}

/// A panel has room for so many exceptions and not one more, wherever they are.
TEST_P(PackedMatrixTest, APanelIsCodedUpToItsLastException) {
  if (kernels().code_panel == nullptr) GTEST_SKIP() << "plain panels are its form";
  for (const int32_t in : {16, 576, 4096, 8192}) {
    std::vector<uint16_t> plain(static_cast<size_t>(in * kPanelColumns));
    for (size_t i = 0; i < plain.size(); ++i)
      plain[i] = static_cast<uint16_t>((0x3000 + i % 16 * 0x100) | (i * 31 % 256));
    const Bytes bytes = CodedPanelBytes(in);
    std::vector<std::byte> panel(static_cast<size_t>(bytes), std::byte{0});
    const auto expect_the_same = [&] {
      std::vector<float> row(static_cast<size_t>(in));
      for (int32_t lane = 0; lane < kPanelColumns; ++lane) {
        kernels().unpack_row(panel.data(), bytes, lane, in, row.data());
        for (int32_t k = 0; k < in; ++k)
          ASSERT_EQ(std::bit_cast<uint32_t>(row[static_cast<size_t>(k)]) >> 16,
                    plain[static_cast<size_t>((k / 2 * kPanelColumns + lane) * 2 + k % 2)]);
      }
    };
    for (int32_t strange = 0; strange <= MostExceptions(in); ++strange) {
      ASSERT_TRUE(kernels().code_panel(plain.data(), in, panel.data())) << strange << " of " << in;
      expect_the_same();
      // In turns from the first unit on and from the last one back, two or three in a half.
      const auto place = static_cast<size_t>(strange / 2 * 29);
      const size_t at = strange % 2 == 0 ? place : plain.size() - 1 - place;
      plain[at] = static_cast<uint16_t>(0x0100 * (1 + strange % 5) + strange);
    }
    EXPECT_FALSE(kernels().code_panel(plain.data(), in, panel.data()));
  }
}

TEST_P(PackedMatrixTest, ThreadsMaySetDifferentRowsAtOnce) {
  constexpr int32_t kOut = 1024;
  constexpr int32_t kIn = 48;
  const std::vector<BFloat16> values = Values(kOut, kIn);
  const auto made = std::move(PackedMatrix::Create(memory_, kernels(), dtype(), kOut, kIn)).value();
  std::vector<std::thread> threads;
  for (int32_t thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      for (int32_t row = thread * kPanelColumns; row < kOut; row += 4 * kPanelColumns)
        made->SetBFloat16Rows(row, kPanelColumns,
                              std::span(values).subspan(static_cast<size_t>(row * kIn),
                                                        static_cast<size_t>(kPanelColumns * kIn)));
    });
  for (std::thread& thread : threads) thread.join();
  const auto& matrix = static_cast<const PackedMatrix&>(*made);
  std::vector<float> read(kIn);
  for (int32_t row = 0; row < kOut; ++row) {
    kernels().unpack_row(matrix.Panel(0), matrix.panel_bytes(), row, kIn, read.data());
    for (int32_t k = 0; k < kIn; ++k)
      ASSERT_EQ(std::bit_cast<uint32_t>(read[static_cast<size_t>(k)]) >> 16,
                values[static_cast<size_t>(row * kIn + k)].bits);
  }
}

std::vector<Variant> AllVariants() {
  std::vector<Variant> all;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512Bf16})
    for (const DType dtype : {DType::kBFloat16, DType::kFloat32})
      for (const Contents contents : {Contents::kNormal, Contents::kWide,
                                      Contents::kEverySecondPanelWide, Contents::kAnyBits})
        all.push_back({isa, dtype, contents});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Variants, PackedMatrixTest, ::testing::ValuesIn(AllVariants()),
                         VariantName);

}  // namespace
}  // namespace weft::ops::cpu
