// The pull request's diagram: four absent adapters whose images lie in host memory, one request
// each, all at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/hand_written_for_test.h"

namespace weft::sim {
namespace {

using adapter::LoadPolicyKind;
using ::testing::ElementsAre;

constexpr Duration kCopyPage = kMillisecond;
constexpr Duration kArrival = std::chrono::seconds(1);

/// A step takes a fifth longer than a copy.
Outcome RunDiagram(LoadPolicyKind policy) {
  Scenario scenario = PlentifulScenario(policy);
  scenario.io.copy_page = kCopyPage;
  scenario.step.step = kCopyPage * ImagePages() * 6 / 5;
  for (const char* name : {"A1", "A2", "A3", "A4"}) AddLoadedAdapter(scenario, name);
  for (const char* name : {"A1", "A2", "A3", "A4"})
    AddRequest(scenario, kArrival, name, Prompt(20), 8);
  return RunByTime(std::move(scenario));
}

TEST(Diagram, OverlappedStepsRunWithWhatHasArrived) {
  const Outcome outcome = RunDiagram(LoadPolicyKind::kOverlapped);
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_GE(outcome.step_records.size(), 4u);
  EXPECT_THAT(outcome.step_records[0].members, ElementsAre(0));
  EXPECT_THAT(outcome.step_records[1].members, ElementsAre(0, 1));
  EXPECT_THAT(outcome.step_records[2].members, ElementsAre(0, 1, 2));
  EXPECT_THAT(outcome.step_records[3].members, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(outcome.step_records[0].begin, kArrival + kCopyPage * ImagePages());
}

TEST(Diagram, BlockingStepsBeginAfterTheLastLoad) {
  const Outcome outcome = RunDiagram(LoadPolicyKind::kBlocking);
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_FALSE(outcome.step_records.empty());
  EXPECT_THAT(outcome.step_records[0].members, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(outcome.step_records[0].begin, kArrival + kCopyPage * ImagePages() * 4);
}

TEST(Diagram, BothPoliciesUseTheSameDeviceMemoryAndGiveTheSameTokens) {
  const Outcome overlapped = RunDiagram(LoadPolicyKind::kOverlapped);
  const Outcome blocking = RunDiagram(LoadPolicyKind::kBlocking);
  EXPECT_EQ(overlapped.pool_pages, blocking.pool_pages);
  EXPECT_EQ(overlapped.most_pages_taken, blocking.most_pages_taken);
  EXPECT_EQ(overlapped.copied_bytes, blocking.copied_bytes);
  ASSERT_EQ(overlapped.completed, 4);
  ASSERT_EQ(blocking.completed, 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(overlapped.request_records[i].tokens, blocking.request_records[i].tokens) << i;
  }
}

TEST(Diagram, OverlappedGivesTheFirstTokenSooner) {
  const Outcome overlapped = RunDiagram(LoadPolicyKind::kOverlapped);
  const Outcome blocking = RunDiagram(LoadPolicyKind::kBlocking);
  EXPECT_LT(overlapped.request_records[0].token_times.at(0),
            blocking.request_records[0].token_times.at(0) - kCopyPage * ImagePages() * 2);
}

}  // namespace
}  // namespace weft::sim
