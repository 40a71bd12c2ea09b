// Promises by name, each in one history written by hand. What History checks after every turn it
// checks here too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "sim/hand_written_for_test.h"

namespace weft::sim {
namespace {

using adapter::LoadPolicyKind;
using engine::FinishType;

/// The longest time between two tokens of a request.
Duration LongestGap(const RequestRecord& request) {
  Duration longest{};
  for (size_t i = 1; i < request.token_times.size(); ++i) {
    longest = std::max(longest, request.token_times[i] - request.token_times[i - 1]);
  }
  return longest;
}

/// One decode runs; adapters are read and copied meanwhile.
Outcome RunDecodeDuringLoads(LoadPolicyKind policy, Duration step) {
  Scenario scenario = PlentifulScenario(policy);
  scenario.step.step = step;
  scenario.io.read_page = kMillisecond * 2;
  scenario.io.copy_page = kMillisecond * 3;
  AddRequest(scenario, Duration{}, "", Prompt(10), 60);
  for (const char* name : {"A", "B", "C"}) {
    AddAdapter(scenario, name);
    AddRequest(scenario, kMillisecond * 30, name, Prompt(10), 4);
  }
  return RunByTime(std::move(scenario));
}

TEST(P3, OverlappedLoadsDoNotLengthenARunningDecode) {
  const Duration step = kMillisecond * 4;
  const Outcome outcome = RunDecodeDuringLoads(LoadPolicyKind::kOverlapped, step);
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_EQ(outcome.completed, 4);
  EXPECT_EQ(LongestGap(outcome.request_records[0]), step);
}

TEST(P3, BlockingLoadsDo) {
  const Duration step = kMillisecond * 4;
  const Outcome outcome = RunDecodeDuringLoads(LoadPolicyKind::kBlocking, step);
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_EQ(outcome.completed, 4);
  EXPECT_GT(LongestGap(outcome.request_records[0]), step * 4);
}

TEST(P6, OnlySoManyLaterRequestsStartBeforeOneThatWaits) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.engine.limits.max_overtakes = 3;
  scenario.io.read_page = kMillisecond * 20;
  AddAdapter(scenario, "slow");
  const int32_t slow = AddRequest(scenario, Duration{}, "slow", Prompt(10), 2);
  for (int32_t i = 1; i <= 10; ++i) AddRequest(scenario, kMillisecond * i, "", Prompt(10), 2);
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_EQ(outcome.completed, 11);
  const Duration slow_token = outcome.request_records[static_cast<size_t>(slow)].token_times.at(0);
  const auto earlier = std::count_if(
      outcome.request_records.begin(), outcome.request_records.end(),
      [&](const RequestRecord& request) { return request.token_times.at(0) < slow_token; });
  EXPECT_EQ(earlier, 3);
}

/// Requests for A come so often that A would never be idle; one for B comes after the first of
/// them. Returns how many have their first token before B's.
int64_t FirstTokensBeforeTheOther(Scenario scenario) {
  scenario.step.step = kMillisecond * 2;
  AddLoadedAdapter(scenario, "A");
  AddLoadedAdapter(scenario, "B");
  const Duration begin = kMillisecond * 1000;
  AddRequest(scenario, begin, "A", Prompt(10), 25);
  const int32_t other = AddRequest(scenario, begin + kMillisecond * 5, "B", Prompt(10), 2);
  // It ends before the first one does.
  AddRequest(scenario, begin + kMillisecond * 10, "A", Prompt(10), 4);
  for (int32_t i = 1; i <= 20; ++i) {
    AddRequest(scenario, begin + kMillisecond * (10 + 20 * i), "A", Prompt(10), 25);
  }
  const Outcome outcome = RunByTime(std::move(scenario));
  EXPECT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.completed, 23);
  const Duration token = outcome.request_records[static_cast<size_t>(other)].token_times.at(0);
  return std::count_if(
      outcome.request_records.begin(), outcome.request_records.end(),
      [&](const RequestRecord& request) { return request.token_times.at(0) < token; });
}

TEST(P6, LaterRequestsDoNotKeepThePlaceInAStepThatTheFirstInLineWaitsFor) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.engine.limits.max_adapters_per_step = 1;
  EXPECT_EQ(FirstTokensBeforeTheOther(std::move(scenario)), 2);
}

TEST(P6, LaterRequestsDoNotKeepTheMemoryThatTheFirstInLineWaitsFor) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  LimitAdapterPages(scenario, ImagePages());
  EXPECT_EQ(FirstTokensBeforeTheOther(std::move(scenario)), 2);
}

TEST(P7, ALoadThatNobodyWaitsForIsDroppedBeforeItIsCopied) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.io.read_page = kMillisecond * 10;
  AddAdapter(scenario, "A");
  const int32_t request = AddRequest(scenario, Duration{}, "A", Prompt(10), 2);
  scenario.actions.push_back(
      {Action::Kind::kCancel, kMillisecond * 25, "", "", false, FileFault::kNone, request});
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.aborted, 1);
  EXPECT_EQ(outcome.dropped_loads, 1);
  EXPECT_EQ(outcome.copied_bytes, 0);
}

TEST(P7, ACancelledRequestHasItsLastEventAtOnce) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.step.step = kMillisecond * 10;
  AddAdapter(scenario, "A");
  const int32_t request = AddRequest(scenario, Duration{}, "A", Prompt(10), 30);
  scenario.actions.push_back(
      {Action::Kind::kCancel, kMillisecond * 100, "", "", false, FileFault::kNone, request});
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.request_records[0].finish->type, FinishType::kAbort);
  // Steps end at every tenth millisecond after the load; none began after the cancel.
  EXPECT_LT(outcome.step_records.back().begin, kMillisecond * 100);
}

/// Host memory holds one image. In one turn a request's read takes the room of an image whose copy
/// was announced: the copy must not begin.
TEST(P5, AnImageThatARequestTakesTheRoomOfIsNotCopied) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.engine.adapters.host_page_count = 1 + ImagePages();
  AddLoadedAdapter(scenario, "wanted");
  AddLoadedAdapter(scenario, "announced");
  scenario.actions.back().at = kMillisecond * 500;
  scenario.actions.push_back(
      {Action::Kind::kWantSoon, kMillisecond * 1000, "announced", "", false, FileFault::kNone, 0});
  AddRequest(scenario, kMillisecond * 1000, "wanted", Prompt(10), 2);
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.completed, 1);
}

/// One that waits needs most of the pool: an adapter that is then pinned beside it would stay for
/// ever, and so would the request.
TEST(P6, AnAdapterIsNotPinnedWhereAWaitingRequestWouldNotFitAnyMore) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  const int32_t image = ImagePages();
  scenario.engine.limits.tokens_per_page = 4;
  scenario.engine.page_count = 1 + 2 * image + 10;
  scenario.io.read_page = kMillisecond * 10;
  AddAdapter(scenario, "A");
  AddRequest(scenario, Duration{}, "A", Prompt(60), 8);
  scenario.files["disk/pinned"] = {3000, 8, FileFault::kNone};
  scenario.actions.push_back(
      {Action::Kind::kLoad, kMillisecond, "pinned", "disk/pinned", true, FileFault::kNone, 0});
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  EXPECT_EQ(outcome.completed, 1);
  EXPECT_EQ(outcome.request_records[0].tokens.size(), 8u);
}

TEST(P9, UnloadingLetsRunningRequestsFinishAndRefusesNewOnes) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  AddAdapter(scenario, "A");
  AddRequest(scenario, Duration{}, "A", Prompt(10), 40);
  scenario.actions.push_back(
      {Action::Kind::kUnload, kMillisecond * 40, "A", "", false, FileFault::kNone, 0});
  AddRequest(scenario, kMillisecond * 41, "A", Prompt(10), 4);
  const Outcome outcome = RunByTime(std::move(scenario));
  // The history's end checks that host image, pages and prefix blocks are free.
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_LT(outcome.request_records[0].token_times.at(0), kMillisecond * 40);
  EXPECT_EQ(outcome.request_records[0].finish->type, FinishType::kLength);
  EXPECT_EQ(outcome.request_records[0].tokens.size(), 40u);
  ASSERT_EQ(outcome.request_records[1].finish->type, FinishType::kError);
  EXPECT_EQ(outcome.request_records[1].finish->error.code, ErrorCode::kNotFound);
}

/// Three requests with one prompt: the first is over, the second in mid-prefill with prefix hits
/// and the third not there yet when the adapter is replaced.
TEST(P10, AdapterReplacedInMidPrefillWithPrefixHits) {
  Scenario scenario = PlentifulScenario(LoadPolicyKind::kOverlapped);
  scenario.engine.limits.max_prefill_tokens = 3;
  AddAdapter(scenario, "A");
  scenario.files["disk/B"] = {2000, 16, FileFault::kNone};
  const std::vector<TokenId> shared = Prompt(40);
  std::vector<TokenId> longer = shared;
  for (const TokenId token : Prompt(40)) longer.push_back(token);
  AddRequest(scenario, Duration{}, "A", shared, 4);
  AddRequest(scenario, kMillisecond * 200, "A", longer, 8);
  scenario.actions.push_back(
      {Action::Kind::kReplace, kMillisecond * 201, "A", "disk/B", false, FileFault::kNone, 0});
  AddRequest(scenario, kMillisecond * 240, "A", longer, 8);
  // Its tokens are the new version's; the seed only has to be the same.
  scenario.requests[2].seed = scenario.requests[1].seed;
  const uint64_t seed = scenario.requests[1].seed;
  const Outcome outcome = RunByTime(std::move(scenario));
  ASSERT_FALSE(outcome.violation.has_value()) << *outcome.violation;
  ASSERT_EQ(outcome.completed, 3);
  EXPECT_GT(outcome.cached_tokens, 0);
  // The replacement was ready while the second was in its prefill.
  EXPECT_GT(outcome.request_records[1].token_times.at(0), kMillisecond * 215);
  EXPECT_EQ(outcome.request_records[1].tokens, VirtualModel::Generate(longer, 1000, seed, 8));
  EXPECT_EQ(outcome.request_records[2].tokens, VirtualModel::Generate(longer, 2000, seed, 8));
  EXPECT_NE(outcome.request_records[1].tokens, outcome.request_records[2].tokens);
}

}  // namespace
}  // namespace weft::sim
