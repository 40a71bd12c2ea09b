#include "ops/cuda/lora_kernels.h"

#include <array>
#include <bit>
#include <climits>
#include <cmath>
#include <cstring>

#include "ops/cuda/few_rows_plan.h"
#include "ops/cuda/lora_case_for_test.h"

// The kernels against sums in double on the CPU, with everything that they must write or must not
// read filled with NaN.

namespace weft::ops::cuda {
namespace {

constexpr int kLayers = 2;
constexpr int kPadding = 8;  ///< Columns behind each row of x and delta that nobody may touch.
constexpr uint16_t kPoison = 0xFFFF;

struct Sequence {
  int rows;
  int adapter;  ///< -1: none.
};

/// bf16 bits of one projection, [rows + 1][out + kPadding].
using Bits = std::vector<uint16_t>;

int RowsOf(std::span<const Sequence> sequences) {
  int rows = 0;
  for (const Sequence& sequence : sequences) rows += sequence.rows;
  return rows;
}

double FromBits(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

/// A model's shape, adapters and rows of x.
class LoraCase {
 public:
  /// `most_shared`: bytes of shared memory that a block may have, if less than the GPU lets it.
  LoraCase(const LoraShape& shape, int rows, uint32_t seed, int most_shared = INT_MAX)
      : shape_(shape), rows_(rows), random_(seed) {
    MustSucceed(cudaDeviceGetAttribute(&processors_, cudaDevAttrMultiProcessorCount, 0));
    MustSucceed(cudaDeviceGetAttribute(&shared_, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    shared_ = std::min(shared_, most_shared);
    MustSucceed(PrepareLoraKernels(shared_));
    std::normal_distribution<float> normal;
    for (int op = 0; op < kLoraOperators; ++op) {
      x_[op].resize(static_cast<size_t>(rows_ * in(op)));
      for (float& value : x_[op]) value = __bfloat162float(__float2bfloat16(normal(random_)));
    }
  }

  /// Ranks [layer][projection], or one for all.
  void AddAdapter(std::vector<int> ranks) {
    if (ranks.size() == 1) ranks.assign(kLayers * kLoraProjections, ranks[0]);
    adapters_.push_back(std::make_unique<TestAdapter>(shape_, ranks, random_()));
  }

  int in(int op) const { return shape_.in[static_cast<size_t>(kFirstProjection[op])]; }
  int out(int op, int index) const {
    return shape_.out[static_cast<size_t>(kFirstProjection[op] + index)];
  }

  /// The operator's deltas. `x_rows`: which of the rows made stand where; all, in order, if empty.
  std::vector<Bits> Run(int op, int layer, std::span<const Sequence> sequences,
                        std::span<const int> x_rows = {}) {
    std::vector<LoraRows> named;
    int rows = 0;
    for (const Sequence& sequence : sequences) {
      const ResidentLora* adapter =
          sequence.adapter < 0 ? nullptr
                               : adapters_[static_cast<size_t>(sequence.adapter)]->resident();
      named.push_back({rows, sequence.rows, adapter});
      rows += sequence.rows;
    }
    auto built = std::make_unique<LoraStep>();
    std::vector<int32_t> numbers(static_cast<size_t>(rows));
    const LoraStepPlan plan = BuildLoraStep(shape_, named, processors_, *built, numbers);
    EXPECT_LE(plan.scratch_floats, LoraScratchFloats(shape_, rows, kLoraTile * kMaxLoraTiles));
    const auto* bytes = reinterpret_cast<const std::byte*>(built.get());
    std::vector<std::byte> uploaded(sizeof(LoraStep), std::byte{0xff});
    for (const LoraStepPart& part : plan.parts)
      std::copy_n(bytes + part.offset, part.bytes, uploaded.begin() + part.offset);
    PoisonedBuffer<std::byte> step(sizeof(LoraStep));
    step.Set(uploaded);
    PoisonedBuffer<int32_t> row_numbers(numbers.size());
    row_numbers.Set(numbers);
    PoisonedBuffer<float> scratch(static_cast<size_t>(plan.scratch_floats));
    const std::vector<uint16_t> gathered = GatherX(op, rows, x_rows);
    PoisonedBuffer<uint16_t> x(gathered.size());
    x.Set(gathered);

    LoraParams params;
    params.step = reinterpret_cast<LoraStep*>(step.data());
    params.row_numbers = row_numbers.data();
    params.op = static_cast<LoraOperator>(op);
    params.layer = layer;
    params.layers = kLayers;
    params.x = reinterpret_cast<const __nv_bfloat16*>(x.data());
    params.x_stride = in(op) + kPadding;
    params.in = in(op);
    params.scratch = scratch.data();
    params.decode = plan.decode;
    params.prefill = plan.prefill;
    return Launch(params, rows);
  }

  /// Row `row` of x through the adapter's module, in double; `rounded`: A x rounded to bf16.
  std::vector<double> Reference(int op, int layer, int index, int adapter, int row,
                                bool rounded) const {
    std::vector<double> y(static_cast<size_t>(out(op, index)), 0.0);
    if (adapter < 0) return y;
    const TestModule& from =
        adapters_[static_cast<size_t>(adapter)]->Module(layer, kFirstProjection[op] + index);
    const float* x = x_[op].data() + static_cast<size_t>(row * in(op));
    for (int r = 0; r < from.rank; ++r) {
      double sum = 0.0;
      for (int k = 0; k < in(op); ++k)
        sum += static_cast<double>(x[k]) * from.a[static_cast<size_t>(r * in(op) + k)];
      sum *= from.scaling;
      if (rounded) sum = __bfloat162float(__float2bfloat16(static_cast<float>(sum)));
      for (size_t o = 0; o < y.size(); ++o)
        y[o] += sum * from.b[o * static_cast<size_t>(from.rank) + static_cast<size_t>(r)];
    }
    return y;
  }

  /// Runs all operators of both layers and compares about `sampled` rows of each projection.
  void Check(std::span<const Sequence> sequences, int sampled) {
    for (int op = 0; op < kLoraOperators; ++op)
      for (int layer = 0; layer < kLayers; ++layer) {
        const std::vector<Bits> deltas = Run(op, layer, sequences);
        for (int index = 0; index < kOperatorProjections[op]; ++index) {
          SCOPED_TRACE(testing::Message()
                       << "operator " << op << " layer " << layer << " projection " << index);
          Compare(op, layer, index, sequences, sampled, deltas[static_cast<size_t>(index)]);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
  }

  /// Element k of row `row` of x.
  float X(int op, int row, int k) const { return x_[op][static_cast<size_t>(row * in(op) + k)]; }
  int32_t shared_limit() const { return shared_; }
  int processors() const { return processors_; }

  bool programmatic = false;
  GemmParams base;  ///< Of the launches; its h is their x.

 private:
  std::vector<uint16_t> GatherX(int op, int rows, std::span<const int> x_rows) const {
    const int width = in(op);
    std::vector<uint16_t> gathered(static_cast<size_t>(rows * (width + kPadding)), kPoison);
    for (int row = 0; row < rows; ++row) {
      const int from = x_rows.empty() ? row : x_rows[static_cast<size_t>(row)];
      for (int k = 0; k < width; ++k) {
        const __nv_bfloat16 value = __float2bfloat16(x_[op][static_cast<size_t>(from * width + k)]);
        std::memcpy(&gathered[static_cast<size_t>(row * (width + kPadding) + k)], &value, 2);
      }
    }
    return gathered;
  }

  std::vector<Bits> Launch(LoraParams& params, int rows) {
    const int op = static_cast<int>(params.op);
    params.multiprocessors = processors_;
    params.shared_limit = shared_;
    params.programmatic = programmatic;
    params.base = base;
    params.base.h = params.x;
    params.base.h_stride = params.x_stride;
    params.base.rows = rows;
    params.base.in = params.in;
    std::vector<std::unique_ptr<PoisonedBuffer<uint16_t>>> deltas;
    for (int i = 0; i < kOperatorProjections[op]; ++i) {
      const int stride = out(op, i) + kPadding;
      deltas.push_back(
          std::make_unique<PoisonedBuffer<uint16_t>>(static_cast<size_t>((rows + 1) * stride)));
      params.delta[i] = {reinterpret_cast<__nv_bfloat16*>(deltas.back()->data()), stride,
                         out(op, i)};
    }
    LaunchLora(params, nullptr);
    MustSucceed(cudaGetLastError());
    MustSucceed(cudaDeviceSynchronize());
    std::vector<Bits> results;
    for (const auto& delta : deltas) results.push_back(delta->Get());
    return results;
  }

  void Compare(int op, int layer, int index, std::span<const Sequence> sequences, int sampled,
               const Bits& delta) {
    const int width = out(op, index);
    const int step = std::max(1, RowsOf(sequences) / sampled);
    double error = 0.0;
    double size = 0.0;
    int row = 0;
    for (const Sequence& sequence : sequences)
      for (int i = 0; i < sequence.rows; ++i, ++row) {
        const uint16_t* bits = delta.data() + static_cast<size_t>(row * (width + kPadding));
        for (int o = 0; o < width; ++o) ASSERT_NE(bits[o], kPoison) << "row " << row << " " << o;
        for (int o = 0; o < kPadding; ++o) ASSERT_EQ(bits[width + o], kPoison) << "row " << row;
        if (row % step != 0 && i != 0 && i + 1 != sequence.rows) continue;
        const std::vector<double> expected =
            Reference(op, layer, index, sequence.adapter, row, true);
        for (int o = 0; o < width; ++o) {
          const double right = expected[static_cast<size_t>(o)];
          const double got = FromBits(bits[o]);
          if (right == 0.0) {
            ASSERT_EQ(got, 0.0) << "row " << row << " out " << o;
          }
          error += std::pow(got - right, 2);
          size += std::pow(right, 2);
        }
      }
    ASSERT_FALSE(std::isnan(error));
    // Rounding to bf16 makes 1.7e-3; float sums of A x round to the other bf16 now and then.
    EXPECT_LE(std::sqrt(error), 2.5e-3 * std::sqrt(size));
    for (int o = 0; o < width + kPadding; ++o)
      ASSERT_EQ(delta[static_cast<size_t>(row * (width + kPadding) + o)], kPoison) << "row after";
  }

  LoraShape shape_;
  int rows_;
  std::mt19937 random_;
  int processors_ = 0;
  int shared_ = 0;
  std::vector<std::unique_ptr<TestAdapter>> adapters_;
  std::vector<float> x_[kLoraOperators];
};

LoraShape Shape(int hidden, int kv, int intermediate) {
  return {kLayers,
          {hidden, hidden, hidden, hidden, hidden, hidden, intermediate},
          {hidden, kv, kv, hidden, intermediate, intermediate, hidden}};
}

/// With and without the launch that overlaps the kernel before.
class LoraKernels : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Programmatic, LoraKernels, ::testing::Bool());

TEST_P(LoraKernels, DecodeOfMixedRanks) {
  LoraCase test(Shape(576, 192, 1536), 40, 1);
  test.programmatic = GetParam();
  for (const int rank : {1, 8, 16, 24, 33, 64, 128, 256}) test.AddAdapter({rank});
  // Adapters recur at a distance, so that rows are gathered; base rows lie between.
  const std::vector<Sequence> sequences = {{1, 0}, {2, 7}, {1, -1}, {9, 1}, {1, 2}, {3, 3},
                                           {1, 7}, {1, 4}, {2, -1}, {1, 5}, {6, 2}, {4, 6}};
  test.Check(sequences, 1000);
}

TEST_P(LoraKernels, PrefillOfMixedRanksBesideDecode) {
  LoraCase test(Shape(576, 192, 1536), 900, 2);
  test.programmatic = GetParam();
  for (const int rank : {1, 8, 16, 40, 100, 128, 136, 256}) test.AddAdapter({rank});
  const std::vector<Sequence> sequences = {{33, 0},  {129, 1}, {1, 2},  {40, 2}, {70, 3},
                                           {128, 4}, {100, 5}, {5, -1}, {50, 5}, {33, 6},
                                           {200, 7}, {1, 1},   {2, -1}, {60, 3}};
  test.Check(sequences, 60);
}

TEST_P(LoraKernels, ModulesAndRanksThatDifferByLayer) {
  LoraCase test(Shape(256, 64, 704), 200, 3);
  test.programmatic = GetParam();
  test.AddAdapter({16, 0, 16, 0, 0, 8, 24, /**/ 32, 0, 48, 0, 130, 16, 8});
  test.AddAdapter({0, 64, 0, 160, 0, 0, 0, /**/ 0, 8, 0, 0, 0, 0, 300});
  test.AddAdapter({0, 0, 0, 0, 512, 0, 0, /**/ 24, 24, 24, 24, 24, 24, 24});
  const std::vector<Sequence> few = {{3, 0}, {3, 1}, {2, 2}, {1, -1}};
  test.Check(few, 1000);
  const std::vector<Sequence> many = {{60, 0}, {50, 1}, {70, 2}, {3, -1}};
  test.Check(many, 100);
}

TEST_P(LoraKernels, OddShapes) {
  uint32_t seed = 10;
  for (const LoraShape& shape : {Shape(64, 64, 64), Shape(72, 8, 200), Shape(1032, 136, 264),
                                 Shape(896, 128, 4864), Shape(3584, 512, 18944)}) {
    LoraCase test(shape, 64, seed++);
    test.programmatic = GetParam();
    test.AddAdapter({8});
    test.AddAdapter({72});
    const std::vector<Sequence> few = {{1, 0}, {17, 1}, {2, -1}};
    test.Check(few, 3);
    const std::vector<Sequence> many = {{35, 1}, {1, -1}};
    test.Check(many, 3);
  }
}

TEST_P(LoraKernels, SixtyFourAdaptersInABatch) {
  LoraCase test(Shape(512, 128, 1024), 65, 4);
  test.programmatic = GetParam();
  std::vector<Sequence> sequences = {{1, -1}};
  for (int i = 0; i < 64; ++i) {
    test.AddAdapter({1 + 5 * i % 128});
    sequences.push_back({1, i});
  }
  test.Check(sequences, 1000);
}

TEST_P(LoraKernels, RowsKeepTheirBitsInAnyBatch) {
  LoraCase test(Shape(2560, 512, 6912), 300, 5);
  test.programmatic = GetParam();
  for (const int rank : {24, 128, 200}) test.AddAdapter({rank});
  const std::vector<int> x_row = {7};
  for (int op = 0; op < kLoraOperators; ++op)
    for (int adapter = 0; adapter < 3; ++adapter) {
      const std::vector<Sequence> alone = {{1, adapter}};
      const std::vector<Bits> one = test.Run(op, 1, alone, x_row);
      // The same row of x as the last but one of its adapter's: in the upper half of a decode tile,
      // in a second one, in a prefill block, in its third one.
      for (const int rows : {13, 30, 50, 290}) {
        const std::vector<Sequence> sequences = {{2, (adapter + 1) % 3}, {rows, adapter}, {1, -1}};
        std::vector<int> x_rows(static_cast<size_t>(rows + 3));
        for (size_t i = 0; i < x_rows.size(); ++i) x_rows[i] = static_cast<int>(i * 31 % 300);
        const auto at = static_cast<size_t>(rows);
        x_rows[at] = 7;
        const std::vector<Bits> among = test.Run(op, 1, sequences, x_rows);
        for (size_t i = 0; i < one.size(); ++i) {
          const auto width = static_cast<size_t>(test.out(op, static_cast<int>(i)));
          for (size_t o = 0; o < width; ++o)
            ASSERT_EQ(among[i][at * (width + kPadding) + o], one[i][o])
                << "operator " << op << " adapter " << adapter << " rows " << rows << " out " << o;
        }
      }
    }
}

TEST_P(LoraKernels, RoundingTheInnerSumsAddsLittle) {
  LoraCase test(Shape(1024, 256, 1024), 4, 6);
  test.programmatic = GetParam();
  test.AddAdapter({128});
  const std::vector<Sequence> sequences = {{4, 0}};
  const std::vector<Bits> deltas = test.Run(0, 0, sequences);
  double error = 0.0;
  double rounded_error = 0.0;
  double size = 0.0;
  for (int row = 0; row < 4; ++row) {
    const std::vector<double> exact = test.Reference(0, 0, 0, 0, row, false);
    for (size_t o = 0; o < exact.size(); ++o) {
      const double got =
          FromBits(deltas[0][static_cast<size_t>(row) * (exact.size() + kPadding) + o]);
      error += std::pow(got - exact[o], 2);
      const float best = __bfloat162float(__float2bfloat16(static_cast<float>(exact[o])));
      rounded_error += std::pow(best - exact[o], 2);
      size += std::pow(exact[o], 2);
    }
  }
  printf("relative error: %.2e; of rounding the exact delta alone: %.2e\n", std::sqrt(error / size),
         std::sqrt(rounded_error / size));
  EXPECT_LE(std::sqrt(error / size), 3.5e-3);
}

/// The deltas of a decode of `rows` rows with a base product along: the same bits as without; and
/// the product against sums in double.
template <typename T>
void CheckWithBase(LoraCase& test, int op, int rows, int out, bool add) {
  SCOPED_TRACE(testing::Message() << "operator " << op << ", " << rows << " rows, " << out
                                  << " outputs of " << sizeof(T) << " bytes, added: " << add);
  constexpr int kSampled = 8;  ///< Of so many outputs of a row one is compared.
  const int in = test.in(op);
  const int stride = out + kPadding;
  std::mt19937 random(11);
  std::vector<__nv_bfloat16> weight(static_cast<size_t>(out * in));
  for (__nv_bfloat16& value : weight)
    value = __float2bfloat16(static_cast<float>(random() % 255) / 64.0F - 2.0F);
  PoisonedBuffer<__nv_bfloat16> device_weight(weight.size());
  device_weight.Set(weight);
  PoisonedBuffer<T> d(static_cast<size_t>((rows + 1) * stride));
  if (add) d.Set(std::vector<T>(static_cast<size_t>((rows + 1) * stride), T(3.0F)));
  const std::vector<Sequence> sequences = {{(rows + 1) / 2, 0}, {rows / 2, 1}};
  const auto used = std::span(sequences).first(rows > 1 ? 2 : 1);
  test.base = {};
  const std::vector<Bits> expected = test.Run(op, 1, used);
  test.base.out_dtype = sizeof(T) == 4 ? DType::kFloat32 : DType::kBFloat16;
  test.base.weight = device_weight.data();
  test.base.c = add ? d.data() : nullptr;
  test.base.d = d.data();
  test.base.out = out;
  test.base.d_stride = stride;
  ASSERT_EQ(test.Run(op, 1, used), expected);
  const std::vector<T> after = d.Get();
  for (int row = 0; row <= rows; ++row)
    for (int o = 0; o < stride; ++o) {
      const auto got = static_cast<float>(after[static_cast<size_t>(row * stride + o)]);
      if (row == rows || o >= out) {
        ASSERT_TRUE(add ? got == 3.0F : std::isnan(got)) << "row " << row << " out " << o;
        continue;
      }
      ASSERT_FALSE(std::isnan(got)) << "row " << row << " out " << o;
      if ((o + o / kSampled + row) % kSampled != 0) continue;
      double right = add ? 3.0 : 0.0;
      for (int k = 0; k < in; ++k)
        right +=
            double{test.X(op, row, k)} * __bfloat162float(weight[static_cast<size_t>(o * in + k)]);
      ASSERT_NEAR(got, right, 2e-3 + (sizeof(T) == 4 ? 0.0 : std::abs(right) / 256))
          << "row " << row << " out " << o;
    }
}

TEST_P(LoraKernels, WithTheSharedMemoryOfSmallerGpus) {
  for (const int most_shared : {99 * 1024, 163 * 1024}) {
    LoraCase test(Shape(576, 192, 1536), 300, 8, most_shared);
    test.programmatic = GetParam();
    for (const int rank : {8, 40, 128, 256}) test.AddAdapter({rank});
    const std::vector<Sequence> few = {{1, 0}, {2, 3}, {1, -1}, {16, 1}, {30, 2}};
    test.Check(few, 50);
    const std::vector<Sequence> many = {{40, 0}, {100, 1}, {50, 3}, {2, -1}, {100, 2}};
    test.Check(many, 30);
  }
}

/// Down from `in` columns into what is there, and q, k and v from 576.
void CheckWithBaseOf(bool programmatic, int in, std::span<const int> units_of_block,
                     std::span<const int> rows) {
  LoraCase test(Shape(576, 192, in), kMostFewRows, 7);
  test.programmatic = programmatic;
  test.AddAdapter({24});
  test.AddAdapter({128});
  GemmParams product;
  product.rows = kMostFewRows;
  product.in = product.h_stride = 576;
  product.out = kUnitOuts;
  if (!FewRowsServes(product, test.shared_limit())) GTEST_SKIP() << "not on this GPU";
  for (const int units : units_of_block)
    for (const int count : rows) {
      // The last block that has any has fewer.
      const int out = units * test.processors() * kUnitOuts - kUnitOuts;
      if (units <= 4) CheckWithBase<float>(test, 3, count, out, true);
      CheckWithBase<__nv_bfloat16>(test, 0, count, out, false);
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST_P(LoraKernels, TakeABaseProductAlong) {
  CheckWithBaseOf(GetParam(), 1536, std::array{1, 5}, std::array{1, 17});
}

/// All ways in which blocks and warps share it out: a unit or more for each block, units of each
/// warp's own, one or two, in one pass or two; and columns that go around the ring often.
TEST_P(LoraKernels, TakeALargeBaseProductAlong) {
  CheckWithBaseOf(GetParam(), 6144, std::array{1, 2, 3, 4, 7, 14, 18},
                  std::array{1, 8, 9, 16, 17, 24, 32});
}

}  // namespace
}  // namespace weft::ops::cuda
