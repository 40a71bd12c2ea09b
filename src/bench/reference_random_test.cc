#include "bench/reference_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "bench/reference_vectors.h"

namespace weft::bench {
namespace {

TEST(NumpyRandomTest, DrawsAsNumpyDoesAfterSeed) {
  simdjson::dom::parser parser;
  for (const auto expected : Elements(ReadVectors(parser, "draws.json")["numpy"])) {
    const uint64_t seed = expected["seed"].get_uint64().value();
    SCOPED_TRACE(seed);
    NumpyRandom random(static_cast<uint32_t>(seed));
    EXPECT_EQ(random.RandInt(3, 10, 20), Ints(expected["small"]));
    EXPECT_EQ(random.RandInt(5, 6, 2), Ints(expected["one"]));
    std::vector<std::string> wide;
    for (const int64_t value : random.RandInt(-(1LL << 40), 1LL << 41, 10)) {
      wide.push_back(std::to_string(value));
    }
    std::vector<std::string> expected_wide;
    for (const auto value : Elements(expected["wide"])) {
      expected_wide.push_back(Text(value));
    }
    EXPECT_EQ(wide, expected_wide);
    EXPECT_EQ(random.RandInt(0, 1LL << 32, 5), Ints(expected["full32"]));
    for (const double value : Doubles(expected["exponential"])) {
      EXPECT_DOUBLE_EQ(random.Exponential(0.25), value);
    }
    constexpr std::array<double, 4> kProbabilities = {0.1, 0.2, 0.3, 0.4};
    for (const int64_t value : Ints(expected["choice"])) {
      EXPECT_EQ(random.Choice(kProbabilities), value);
    }
  }
}

TEST(PythonRandomTest, ChoosesAndShufflesAsPythonDoesAfterSeed) {
  simdjson::dom::parser parser;
  for (const auto expected : Elements(ReadVectors(parser, "draws.json")["python"])) {
    const std::string seed = Text(expected["seed"]);
    SCOPED_TRACE(seed);
    PythonRandom random(std::stoull(seed));
    std::vector<int64_t> choices;
    for (const int64_t size : {1, 2, 3, 16, 1000, 70000}) choices.push_back(random.Below(size));
    EXPECT_EQ(choices, Ints(expected["choices"]));
    std::vector<int64_t> items(30);
    std::iota(items.begin(), items.end(), 0);
    random.Shuffle(items);
    EXPECT_EQ(items, Ints(expected["shuffled"]));
  }
}

}  // namespace
}  // namespace weft::bench
