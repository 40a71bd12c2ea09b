// Row and head kernels, transfers and products against sums in double; outputs poisoned before.
#include "ops/cuda/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>

#include "ops/cuda/head_kernels.h"
#include "ops/cuda/poisoned_elements_for_test.h"

namespace weft::ops::cuda {
namespace {

constexpr float kEpsilon = 1e-5F;

/// How far a result may lie from the sum in double: one rounding of the element, and float sums.
void ExpectClose(DType dtype, double expected, float actual, double scale = 1.0) {
  const double relative = dtype == DType::kFloat32 ? 2e-5 : 1.0 / 256;
  ASSERT_NEAR(actual, expected, relative * std::abs(expected) + relative * 0.05 * scale);
}

class RowKernelsTest : public ::testing::TestWithParam<std::tuple<DType, int32_t, int32_t>> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  }
  DType dtype() const { return std::get<0>(GetParam()); }
  int32_t rows() const { return std::get<1>(GetParam()); }
  int32_t width() const { return std::get<2>(GetParam()); }
  size_t size() const { return static_cast<size_t>(rows()) * static_cast<size_t>(width()); }
};

TEST_P(RowKernelsTest, EmbedTakesTheTokensRows) {
  constexpr int32_t kVocabulary = 57;
  const auto table = RandomElements(static_cast<size_t>(kVocabulary * width()), 1.0F, dtype(), 1);
  std::vector<int32_t> tokens;
  for (int32_t row = 0; row < rows(); ++row) tokens.push_back(row * 31 % kVocabulary);
  // Every other row takes a token that the step before chose.
  std::vector<int32_t> given = tokens;
  std::vector<int32_t> chosen(tokens.size(), 0);
  for (int32_t row = 0; row < rows(); row += 2) {
    const int32_t place = rows() - 1 - row;
    given[static_cast<size_t>(row)] = ~place;
    chosen[static_cast<size_t>(place)] = tokens[static_cast<size_t>(row)];
  }
  const PoisonedElements device_table(dtype(), table);
  const DeviceInts device_tokens(given);
  const DeviceInts device_chosen(chosen);
  const PoisonedElements x(DType::kFloat32, size());
  EmbedParams params;
  params.dtype = dtype();
  params.table = device_table.data();
  params.tokens = device_tokens.data();
  params.chosen = device_chosen.data();
  params.x = x.data<float>();
  params.rows = rows();
  params.width = width();
  LaunchEmbed(params, nullptr);
  const auto actual = x.Get();
  for (size_t i = 0; i < size(); ++i) {
    const auto row = i / static_cast<size_t>(width());
    const size_t from =
        static_cast<size_t>(tokens[row] * width()) + i % static_cast<size_t>(width());
    ASSERT_EQ(actual[i], table[from]);
  }
}

TEST_P(RowKernelsTest, RmsNormAddsTheDeltaAndKeepsTheSum) {
  const auto x = RandomElements(size(), 3.0F, DType::kFloat32, 2);
  const auto delta = RandomElements(size(), 1.0F, dtype(), 3);
  const auto weight = RandomElements(static_cast<size_t>(width()), 1.0F, DType::kFloat32, 4);
  std::vector<int32_t> sources;
  for (int32_t row = 0; row < rows(); ++row) sources.push_back(rows() - 1 - row);
  const PoisonedElements device_weight(DType::kFloat32, weight);
  const PoisonedElements device_delta(dtype(), delta);
  const DeviceInts device_sources(sources);
  for (const bool with_delta : {false, true})
    for (const bool gathered : {false, true}) {
      const PoisonedElements device_x(DType::kFloat32, x);
      const PoisonedElements out(dtype(), size());
      RmsNormParams params;
      params.dtype = dtype();
      params.x = device_x.data<float>();
      params.delta = with_delta ? device_delta.data() : nullptr;
      params.keep_sum = !gathered;
      params.source_rows = gathered ? device_sources.data() : nullptr;
      params.weight = device_weight.data<float>();
      params.out = out.data();
      params.rows = rows();
      params.width = width();
      params.epsilon = kEpsilon;
      LaunchRmsNorm(params, nullptr);
      const auto actual = out.Get();
      const auto kept = device_x.Get();
      const auto columns = static_cast<size_t>(width());
      for (size_t row = 0; row < static_cast<size_t>(rows()); ++row) {
        const size_t from = (gathered ? static_cast<size_t>(sources[row]) : row) * columns;
        const auto sum = [&](size_t i) {
          return x[from + i] + (with_delta ? delta[from + i] : 0.0F);
        };
        double squares = 0;
        for (size_t i = 0; i < columns; ++i) squares += double{sum(i)} * sum(i);
        const double inverse = 1.0 / std::sqrt(squares / width() + kEpsilon);
        for (size_t i = 0; i < columns; ++i) {
          ExpectClose(dtype(), sum(i) * inverse * weight[i], actual[row * columns + i]);
          ASSERT_EQ(kept[from + i], with_delta && !gathered ? sum(i) : x[from + i]);
        }
      }
    }
}

TEST_P(RowKernelsTest, SiluMultiplyWithAndWithoutDeltas) {
  const auto gate_up = RandomElements(2 * size(), 3.0F, dtype(), 5);
  const auto delta = RandomElements(2 * size(), 1.0F, dtype(), 13);
  const PoisonedElements device_gate_up(dtype(), gate_up);
  const PoisonedElements device_delta(dtype(), delta);
  const auto columns = static_cast<size_t>(width());
  for (const bool with_delta : {false, true}) {
    const PoisonedElements out(dtype(), size());
    SiluMultiplyParams params;
    params.dtype = dtype();
    params.gate_up = device_gate_up.data();
    params.delta = with_delta ? device_delta.data() : nullptr;
    params.out = out.data();
    params.rows = rows();
    params.width = width();
    LaunchSiluMultiply(params, nullptr);
    const auto actual = out.Get();
    const auto sum = [&](size_t i) { return double{gate_up[i]} + (with_delta ? delta[i] : 0.0F); };
    for (size_t i = 0; i < size(); ++i) {
      const size_t at = i / columns * 2 * columns + i % columns;
      ExpectClose(dtype(), sum(at) / (1.0 + std::exp(-sum(at))) * sum(at + columns), actual[i]);
    }
  }
}

TEST_P(RowKernelsTest, BiasIsAdded) {
  const auto bias = RandomElements(static_cast<size_t>(width()), 1.0F, DType::kFloat32, 6);
  const auto x = RandomElements(size(), 1.0F, DType::kFloat32, 7);
  const PoisonedElements device_bias(DType::kFloat32, bias);
  const PoisonedElements device_x(DType::kFloat32, x);
  LaunchAddBias({device_bias.data<float>(), device_x.data<float>(), rows(), width()}, nullptr);
  const auto biased = device_x.Get();
  for (size_t i = 0; i < size(); ++i)
    ASSERT_EQ(biased[i], x[i] + bias[i % static_cast<size_t>(width())]);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RowKernelsTest,
                         ::testing::Combine(::testing::Values(DType::kBFloat16, DType::kFloat32),
                                            ::testing::Values(1, 3, 16, 130),
                                            ::testing::Values(16, 112, 576, 4096, 5120, 8208)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param) == DType::kFloat32
                                                  ? "Float32"
                                                  : "Bfloat16") +
                                  "Rows" + std::to_string(std::get<1>(info.param)) + "Width" +
                                  std::to_string(std::get<2>(info.param));
                         });

class HeadKernelsTest : public RowKernelsTest {
 protected:
  static constexpr int32_t kHeads = 6;
  static constexpr int32_t kKvHeads = 2;
  static constexpr int32_t kPerPage = 16;
  static constexpr int32_t kPages = 12;
  int32_t head_dim() const { return width(); }
};

/// A head as FinishHeads leaves it, in double.
std::vector<double> FinishedHead(const float* from, const float* bias, const float* norm,
                                 const float* rope, int32_t head_dim) {
  std::vector<double> values(from, from + head_dim);
  const auto half = static_cast<size_t>(head_dim / 2);
  double squares = 0;
  for (size_t d = 0; d < 2 * half; ++d) {
    if (bias != nullptr) values[d] += bias[d];
    squares += values[d] * values[d];
  }
  if (norm != nullptr)
    for (size_t d = 0; d < 2 * half; ++d)
      values[d] *= norm[d] / std::sqrt(squares / head_dim + kEpsilon);
  if (rope == nullptr) return values;
  std::vector<double> turned(values);
  for (size_t d = 0; d < half; ++d) {
    turned[d] = values[d] * rope[d] - values[half + d] * rope[half + d];
    turned[half + d] = values[half + d] * rope[d] + values[d] * rope[half + d];
  }
  return turned;
}

/// What a step's rows bring to the heads' kernels.
struct HeadRows {
  HeadRows(DType dtype, int32_t rows, size_t dim, size_t heads, int32_t slot_count)
      : qkv(RandomElements(static_cast<size_t>(rows) * heads * dim, 1.0F, dtype, 8)),
        delta(RandomElements(qkv.size(), 1.0F, dtype, 14)),
        bias(RandomElements(heads * dim, 1.0F, DType::kFloat32, 9)),
        norm(RandomElements(dim, 1.0F, DType::kFloat32, 10)),
        frequencies(RandomElements(dim / 2, 0.1F, DType::kFloat32, 11)) {
    for (int32_t row = 0; row < rows; ++row) {
      positions.push_back(row * 17);
      slots.push_back((row * 7 + 16) % slot_count);  // Different below 192 rows.
    }
  }

  std::vector<float> qkv, delta, bias, norm, frequencies;
  std::vector<int32_t> positions, slots;
};

TEST_P(HeadKernelsTest, RopeRowsAreCosinesThenSines) {
  const auto dim = static_cast<size_t>(head_dim());
  const HeadRows in(dtype(), rows(), dim, 1, kPages * kPerPage);
  const PoisonedElements frequencies(DType::kFloat32, in.frequencies);
  const DeviceInts positions(in.positions);
  const PoisonedElements rope(DType::kFloat32, static_cast<size_t>(rows()) * dim);
  LaunchRopeRows(
      {frequencies.data<float>(), positions.data(), rope.data<float>(), rows(), head_dim()},
      nullptr);
  const auto turns = rope.Get();
  for (size_t i = 0; i < turns.size(); ++i) {
    const float angle = static_cast<float>(in.positions[i / dim]) * in.frequencies[i % (dim / 2)];
    ASSERT_NEAR(turns[i], i % dim < dim / 2 ? std::cos(angle) : std::sin(angle), 1e-6);
  }
}

TEST_P(HeadKernelsTest, HeadsAreAddedToNormedTurnedAndStored) {
  constexpr int32_t kAll = kHeads + 2 * kKvHeads;
  constexpr size_t kRegion = size_t{kPerPage} * kKvHeads;
  const auto dim = static_cast<size_t>(head_dim());
  const auto row_count = static_cast<size_t>(rows());
  const HeadRows in(dtype(), rows(), dim, kAll, kPages * kPerPage);
  const auto turns = RandomElements(row_count * dim, 1.0F, DType::kFloat32, 12);
  const PoisonedElements qkv(dtype(), in.qkv);
  const PoisonedElements delta(dtype(), in.delta);
  std::vector<float> sums;
  for (size_t i = 0; i < in.qkv.size(); ++i) sums.push_back(in.qkv[i] + in.delta[i]);
  const PoisonedElements bias(DType::kFloat32, in.bias);
  const PoisonedElements norm(DType::kFloat32, in.norm);
  const PoisonedElements rope(DType::kFloat32, turns);
  const DeviceInts slots(in.slots);
  for (const bool plain : {false, true}) {
    const PoisonedElements pages(dtype(), kPages * 2 * kRegion * dim);
    const PoisonedElements queries(dtype(), row_count * kHeads * dim);
    FinishHeadsParams params;
    params.dtype = dtype();
    params.qkv = qkv.data();
    if (!plain) {
      params.delta = delta.data();
      params.q_bias = bias.data<float>();
      params.k_bias = params.q_bias + kHeads * dim;
      params.v_bias = params.k_bias + kKvHeads * dim;
      params.q_norm = params.k_norm = norm.data<float>();
      params.rope = rope.data<float>();
    }
    params.slots = slots.data();
    params.queries = queries.data();
    params.arena = pages.data<std::byte>();
    params.v_offset = static_cast<int64_t>(kRegion * dim) * SizeOf(dtype());
    params.page_bytes = 2 * params.v_offset;
    params.tokens_per_page = kPerPage;
    params.rows = rows();
    params.heads = kHeads;
    params.kv_heads = kKvHeads;
    params.head_dim = head_dim();
    params.epsilon = kEpsilon;
    LaunchFinishHeads(params, nullptr);
    const auto stored = pages.Get();
    const auto stored_queries = queries.Get();
    size_t written = 0;
    for (const float value : stored) written += std::isnan(value) ? 0 : 1;
    EXPECT_EQ(written, row_count * 2 * kKvHeads * dim);
    for (size_t row = 0; row < row_count; ++row)
      for (size_t head = 0; head < kAll; ++head) {
        const bool is_v = head >= kHeads + kKvHeads;
        const auto expected = FinishedHead(&(plain ? in.qkv : sums)[(row * kAll + head) * dim],
                                           plain ? nullptr : &in.bias[head * dim],
                                           plain || is_v ? nullptr : in.norm.data(),
                                           plain || is_v ? nullptr : &turns[row * dim], head_dim());
        const auto slot = static_cast<size_t>(in.slots[row]);
        const size_t region = (slot / kPerPage * 2 + (is_v ? 1 : 0)) * kRegion;
        const float* actual =
            head < kHeads
                ? &stored_queries[(row * kHeads + head) * dim]
                : &stored[(region + (head - kHeads) % kKvHeads * kPerPage + slot % kPerPage) * dim];
        for (size_t d = 0; d < dim; ++d) ExpectClose(dtype(), expected[d], actual[d]);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, HeadKernelsTest,
    ::testing::Combine(::testing::Values(DType::kBFloat16, DType::kFloat32),
                       ::testing::Values(1, 5, 100), ::testing::Values(16, 48, 64, 128, 256)),
    [](const auto& info) {
      return std::string(std::get<0>(info.param) == DType::kFloat32 ? "Float32" : "Bfloat16") +
             "Rows" + std::to_string(std::get<1>(info.param)) + "HeadDim" +
             std::to_string(std::get<2>(info.param));
    });

}  // namespace
}  // namespace weft::ops::cuda
