#include "bench/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "bench/reference_vectors.h"

namespace weft::bench {
namespace {

TEST(StatisticsTest, EqualsNumpyToTheLastBit) {
  simdjson::dom::parser parser;
  constexpr std::array<double, 6> kPercents = {0, 25, 90, 95, 99, 100};
  for (const auto sample : Elements(ReadVectors(parser, "draws.json")["samples"])) {
    std::vector<double> values = Doubles(sample["values"]);
    SCOPED_TRACE(values.size());
    EXPECT_EQ(Sum(values), sample["sum"].get_double().value());
    EXPECT_EQ(Mean(values), sample["mean"].get_double().value());
    EXPECT_EQ(StandardDeviation(values), sample["std"].get_double().value());
    std::sort(values.begin(), values.end());
    EXPECT_EQ(Median(values), sample["median"].get_double().value());
    const std::vector<double> expected = Doubles(sample["percentiles"]);
    for (size_t i = 0; i < kPercents.size(); ++i) {
      EXPECT_EQ(Percentile(values, kPercents[i]), expected[i]) << kPercents[i];
    }
  }
}

TEST(StatisticsTest, NothingIsZero) {
  EXPECT_EQ(Mean({}), 0);
  EXPECT_EQ(StandardDeviation({}), 0);
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Percentile({}, 99), 0);
  EXPECT_EQ(Maximum({}), 0);
}

}  // namespace
}  // namespace weft::bench
