// P6 where adapters take turns: how long a request stands still, in a history written by hand and
// in drawn ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "sim/hand_written_for_test.h"
#include "sim/random.h"

namespace weft::sim {
namespace {

using adapter::LoadPolicyKind;

constexpr Duration kPatience = kMillisecond * 40;
constexpr Duration kSlice = kMillisecond * 10;
constexpr Duration kStep = kMillisecond * 2;

/// Adapters take turns at so many places.
Scenario TurnsScenario(LoadPolicyKind policy, int32_t places) {
  Scenario scenario = PlentifulScenario(policy);
  scenario.engine.limits.turn_patience = kPatience;
  scenario.engine.limits.turn_slice = kSlice;
  scenario.engine.limits.max_adapters_per_step = places;
  scenario.engine.max_steps_in_flight = 2;
  scenario.step.step = kStep;
  return scenario;
}

/// The first one's requests come so often, and take so long, that its adapter would never be idle;
/// the other's come together. Both adapters fit in turns only.
Scenario ScenarioOfTurns(LoadPolicyKind policy, int32_t places_in_memory) {
  Scenario scenario = TurnsScenario(policy, 1);
  LimitAdapterPages(scenario, places_in_memory * ImagePages());
  AddLoadedAdapter(scenario, "A");
  AddLoadedAdapter(scenario, "B");
  const Duration begin = kMillisecond * 1000;
  for (int32_t i = 0; i < 30; ++i) {
    AddRequest(scenario, begin + kMillisecond * 10 * i, "A", Prompt(10), 60);
  }
  for (int32_t i = 0; i < 3; ++i) {
    AddRequest(scenario, begin + kMillisecond * 5, "B", Prompt(10), 60);
  }
  return scenario;
}

/// The longest that a request stood still: before its first token, or between two.
Duration LongestStill(const Outcome& outcome, const Scenario& scenario) {
  Duration longest{};
  for (const Action& action : scenario.actions) {
    if (action.kind != Action::Kind::kRequest) continue;
    Duration last = action.at;
    for (const Duration time :
         outcome.request_records[static_cast<size_t>(action.request)].token_times) {
      longest = std::max(longest, time - last);
      last = time;
    }
  }
  return longest;
}

class P6Turns : public testing::TestWithParam<std::tuple<LoadPolicyKind, int32_t>> {};
INSTANTIATE_TEST_SUITE_P(PoliciesAndMemory, P6Turns,
                         testing::Combine(testing::Values(LoadPolicyKind::kBlocking,
                                                          LoadPolicyKind::kOverlapped),
                                          testing::Values(0, 1)));

TEST_P(P6Turns, NobodyStandsStillForMuchLongerThanThePatience) {
  const auto [policy, places_in_memory] = GetParam();
  const Scenario scenario = ScenarioOfTurns(policy, places_in_memory);
  const Outcome outcome = RunByTime(scenario);
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.completed, 33);
  EXPECT_EQ(outcome.suspensions, 0);
  // The patience, a slice, a copy there and back, and the steps that were under way.
  EXPECT_LT(LongestStill(outcome, scenario), kMillisecond * 80);
  Scenario without = scenario;
  without.engine.limits.turn_patience = Duration{};
  const Outcome in_line = RunByTime(without);
  ASSERT_FALSE(in_line.violation.has_value()) << *in_line.violation;
  EXPECT_GT(LongestStill(in_line, without), kMillisecond * 100);
}

/// Requests to the base model come as fast as they end and keep most of the few places among the
/// running ones, while three adapters have one place, and memory for one.
Scenario DrawBesideTheBaseModel(uint64_t seed) {
  constexpr int32_t kTokens = 30;
  Random random(Random::Mix(seed));
  Scenario scenario = TurnsScenario(LoadPolicyKind::kOverlapped, 1);
  scenario.seed = seed;
  scenario.engine.limits.max_running = 4;
  scenario.engine.limits.max_overtakes = 4;
  LimitAdapterPages(scenario, ImagePages());
  scenario.engine.page_count = 4000;
  for (int32_t i = 0; i < 3; ++i) AddLoadedAdapter(scenario, std::to_string(i));
  const Duration between = kStep * kTokens / 4 * 100 / 95;
  for (Duration at = kMillisecond * 1000; at < kMillisecond * 12'000; at += between)
    AddRequest(scenario, at, "", Prompt(5), kTokens);
  for (int32_t i = 0; i < 15; ++i)
    AddRequest(scenario, kMillisecond * random.Between(1100, 2000),
               std::to_string(random.Between(0, 2)), Prompt(5), random.Between(10, 40));
  return scenario;
}

TEST(P6BesideTheBaseModel, AnAdapterWhoseTurnHasBegunKeepsItUntilItRan) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Scenario scenario = DrawBesideTheBaseModel(seed);
    const Outcome outcome = RunByTime(scenario);
    ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
    // Where turns were taken away before they ran: 500 to 1,300 copies, and 7 to 10 s.
    EXPECT_LT(outcome.copied_bytes, 60 * ImagePages() * kPageBytes) << seed;
    EXPECT_LT(LongestStill(outcome, scenario), kMillisecond * 600) << seed;
  }
}

struct Crowd {
  int32_t adapters = 0;
  int32_t places = 0;
  Scenario scenario;
};

/// More adapters than places, whose images are in host memory, and requests that come as they like.
Crowd DrawCrowd(uint64_t seed) {
  Random random(Random::Mix(seed));
  Crowd crowd;
  crowd.adapters = random.Between(2, 8);
  crowd.places = random.Between(1, std::min(3, crowd.adapters - 1));
  Scenario& scenario = crowd.scenario;
  scenario = TurnsScenario(LoadPolicyKind::kOverlapped, crowd.places);
  scenario.seed = seed;
  LimitAdapterPages(scenario, random.Between(0, 1) * crowd.places * ImagePages());
  scenario.engine.max_steps_in_flight = random.Between(1, 2);
  scenario.engine.page_count = 4000;
  for (int32_t i = 0; i < crowd.adapters; ++i) AddLoadedAdapter(scenario, std::to_string(i));
  const int32_t requests = random.Between(crowd.adapters, 50);
  for (int32_t i = 0; i < requests; ++i)
    AddRequest(scenario, kMillisecond * random.Between(1000, 1300),
               std::to_string(random.Between(0, crowd.adapters - 1)), Prompt(random.Between(2, 20)),
               random.Between(1, 70));
  return crowd;
}

/// A step under way, an image's copy, and the first token behind it.
Duration TimeToBegin(const Scenario& scenario) {
  return 4 * kStep + ImagePages() * scenario.io.copy_page;
}

/// 0.76 of the bound at most in 5,000 crowds.
TEST(P6DrawnTurns, NobodyStandsStillForLongerThanThePatienceAndATurnOfEverybody) {
  int64_t pauses = 0;
  double longest_of_bound = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Crowd crowd = DrawCrowd(seed);
    const Outcome outcome = RunByTime(crowd.scenario);
    ASSERT_FALSE(outcome.violation.has_value()) << seed << ": " << *outcome.violation;
    ASSERT_EQ(outcome.completed, std::ssize(crowd.scenario.requests)) << seed;
    ASSERT_EQ(outcome.suspensions, 0) << seed;
    const Duration turn = kSlice + TimeToBegin(crowd.scenario);
    const int32_t turns = (crowd.adapters + crowd.places - 1) / crowd.places;
    const Duration bound = kPatience + turns * turn;
    const Duration longest = LongestStill(outcome, crowd.scenario);
    ASSERT_LE(longest, bound) << "seed " << seed << ": " << Seconds(longest) << " s for "
                              << crowd.adapters << " adapters and " << crowd.places << " places";
    longest_of_bound = std::max(longest_of_bound, Seconds(longest) / Seconds(bound));
    pauses += outcome.pauses;
  }
  std::printf("%ld pauses; at most %.2f of the bound\n", pauses, longest_of_bound);
  EXPECT_GT(pauses, 400);
}

}  // namespace
}  // namespace weft::sim
