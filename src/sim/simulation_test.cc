#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <string>

#include "sim/history.h"

namespace weft::sim {
namespace {

int64_t SeedCount() {
  const char* count = std::getenv("WEFT_SIM_SEEDS");
  return count == nullptr ? 2000 : std::atoll(count);
}

TEST(Simulation, PromisesHoldForEverySeed) {
  spdlog::set_level(spdlog::level::off);
  const char* only = std::getenv("WEFT_SIM_SEED");
  const int64_t first = only == nullptr ? 0 : std::atoll(only);
  const int64_t last = only == nullptr ? SeedCount() - 1 : first;
  Outcome sum;
  for (int64_t seed = first; seed <= last; ++seed) {
    const Outcome outcome = History(DrawScenario(static_cast<uint64_t>(seed))).Run();
    ASSERT_FALSE(outcome.violation.has_value())
        << "seed " << seed << " (replay with WEFT_SIM_SEED=" << seed << "): " << *outcome.violation;
    sum.steps += outcome.steps;
    sum.completed += outcome.completed;
    sum.aborted += outcome.aborted;
    sum.refused += outcome.refused;
    sum.suspensions += outcome.suspensions;
    sum.pauses += outcome.pauses;
    sum.evictions += outcome.evictions;
    sum.loads += outcome.loads;
    sum.tokens += outcome.tokens;
  }
  std::printf(
      "%ld seeds: %ld steps, %ld requests completed, %ld aborted, %ld refused, %ld loads, "
      "%ld evictions, %ld suspensions, %ld pauses, %ld tokens\n",
      last - first + 1, sum.steps, sum.completed, sum.aborted, sum.refused, sum.loads,
      sum.evictions, sum.suspensions, sum.pauses, sum.tokens);
  if (only != nullptr) return;
  // The histories are worth something only if these things happen in them.
  EXPECT_GT(sum.aborted, 0);
  EXPECT_GT(sum.refused, 0);
  EXPECT_GT(sum.suspensions, 0);
  EXPECT_GT(sum.pauses, 0);
  EXPECT_GT(sum.evictions, 0);
}

TEST(Simulation, OneSeedIsOneHistory) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Outcome first = History(DrawScenario(seed)).Run();
    const Outcome second = History(DrawScenario(seed)).Run();
    EXPECT_EQ(first.digest, second.digest) << seed;
    EXPECT_EQ(first.length, second.length) << seed;
  }
}

}  // namespace
}  // namespace weft::sim
