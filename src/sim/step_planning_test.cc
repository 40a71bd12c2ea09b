// When the next step is planned, where two may be under way.
#include <gtest/gtest.h>

#include "sim/hand_written_for_test.h"

namespace weft::sim {
namespace {

constexpr Duration kStep = kMillisecond * 20;

Scenario OneDecodeInTwoSteps() {
  Scenario scenario = PlentifulScenario(adapter::LoadPolicyKind::kOverlapped);
  scenario.step.step = kStep;
  scenario.engine.max_steps_in_flight = 2;
  AddRequest(scenario, Duration{}, "", Prompt(10), 30);
  return scenario;
}

/// When a request has its first token that comes at `at`; the decode loses no time by it.
Duration FirstTokenOf(Duration at) {
  Scenario scenario = OneDecodeInTwoSteps();
  AddRequest(scenario, at, "", Prompt(10), 2);
  const Outcome outcome = RunByTime(std::move(scenario));
  EXPECT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.completed, 2);
  const std::vector<Duration>& decode = outcome.request_records.at(0).token_times;
  for (size_t i = 1; i < decode.size(); ++i) EXPECT_EQ(decode[i] - decode[i - 1], kStep);
  return outcome.request_records.at(1).token_times.at(0);
}

TEST(StepPlanning, WhoComesDuringAStepIsInTheNext) {
  EXPECT_EQ(FirstTokenOf(kStep * 10 + kStep / 10), kStep * 12);
  EXPECT_EQ(FirstTokenOf(kStep * 10 + kStep / 2), kStep * 12);
}

TEST(StepPlanning, WhoComesWhenTheNextStepIsPlannedWaitsForIt) {
  EXPECT_EQ(FirstTokenOf(kStep * 11 - kMillisecond / 2), kStep * 13);
}

TEST(StepPlanning, AStepThatIsShorterThanTheLastOnesIsFollowedAtOnce) {
  Scenario scenario = OneDecodeInTwoSteps();
  scenario.engine.planning_time = Duration{};
  scenario.step.row = kMillisecond * 5;
  // Steps of many rows, and then of one: the first of those ends before it was thought to.
  for (int i = 0; i < 8; ++i) AddRequest(scenario, Duration{}, "", Prompt(1), 10);
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_EQ(outcome.completed, 9);
  const std::vector<Duration>& decode = outcome.request_records.at(0).token_times;
  for (size_t i = 1; i < decode.size(); ++i)
    EXPECT_LE(decode[i] - decode[i - 1], kStep + kMillisecond * 5 * 9);
  EXPECT_EQ(decode.back() - decode[decode.size() - 2], kStep + kMillisecond * 5);
}

}  // namespace
}  // namespace weft::sim
