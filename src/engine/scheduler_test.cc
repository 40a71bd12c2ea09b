#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/snapshot_for_test.h"

namespace weft::engine {
namespace {

using adapter::DeviceTier;
using adapter::HostTier;
using adapter::LoadPolicyKind;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Slice = Plan::Slice;

TEST_F(SchedulerTest, NothingToDoIsAnEmptyPlan) {
  const Plan plan = Make();
  EXPECT_THAT(plan.slices, IsEmpty());
  EXPECT_FALSE(plan.starts_loads());
}

TEST_F(SchedulerTest, DecodesComeBeforePrefills) {
  snapshot_.running = {Running(1, 0, 100, 0), Running(2, 0, 40, 39)};
  snapshot_.waiting = {Waiting(3, 0, 20)};
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(2), 1}, Slice{RequestId(1), 100},
                                         Slice{RequestId(3), 20}));
}

TEST_F(SchedulerTest, PrefillsShareTheChunkBudgetByArrivalAndDecodesDoNotUseIt) {
  limits_.max_prefill_tokens = 64;
  snapshot_.running = {Running(1, 0, 40, 39), Running(2, 0, 150, 100)};
  snapshot_.waiting = {Waiting(3, 0, 200), Waiting(4, 0, 10)};
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(1), 1}, Slice{RequestId(2), 50},
                                         Slice{RequestId(3), 14}));
}

TEST_F(SchedulerTest, CachedTokensAreNotComputedAgain) {
  snapshot_.waiting = {Waiting(1, 0, 40)};
  snapshot_.waiting[0].computed = 32;
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(1), 8}));
}

TEST_F(SchedulerTest, NotMoreSequencesThanMayRun) {
  limits_.max_running = 2;
  snapshot_.running = {Running(1, 0, 40, 39)};
  snapshot_.waiting = {Waiting(2, 0, 8), Waiting(3, 0, 8)};
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(1), 1}, Slice{RequestId(2), 8}));
}

TEST_F(SchedulerTest, NotMoreAdaptersInAStepThanMayBeAndTheBaseModelTakesNoPlace) {
  limits_.max_adapters_per_step = 2;
  snapshot_.adapters = {Resident(1, 1), Resident(2), Resident(3)};
  snapshot_.running = {Running(1, 1, 40, 39)};
  snapshot_.waiting = {Waiting(2, 2, 8), Waiting(3, 3, 8), Waiting(4, 0, 8), Waiting(5, 1, 8)};
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(1), 1}, Slice{RequestId(2), 8},
                                         Slice{RequestId(4), 8}, Slice{RequestId(5), 8}));
}

TEST_F(SchedulerTest, RequestsWithReadyAdaptersOvertakeWithinTheBound) {
  limits_.max_overtakes = 3;
  snapshot_.adapters = {Adapter(1, HostTier::kReading, DeviceTier::kAbsent), Resident(2)};
  snapshot_.waiting = {Waiting(1, 1, 8), Waiting(2, 2, 8), Waiting(3, 0, 8), Waiting(4, 0, 8)};
  snapshot_.waiting[0].overtaken = 1;
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(2), 8}, Slice{RequestId(3), 8}));
  snapshot_.waiting[0].overtaken = 3;
  EXPECT_THAT(Make().slices, IsEmpty());
}

TEST_F(SchedulerTest, AbsentAdaptersAreReadAndThoseInHostMemoryCopiedByArrival) {
  limits_.max_reads = 2;
  snapshot_.adapters = {Adapter(1, HostTier::kAbsent, DeviceTier::kAbsent),
                        Adapter(2, HostTier::kAbsent, DeviceTier::kAbsent),
                        Adapter(3, HostTier::kAbsent, DeviceTier::kAbsent), InHostMemory(4)};
  snapshot_.waiting = {Waiting(1, 3, 8), Waiting(2, 4, 8), Waiting(3, 2, 8), Waiting(4, 1, 8)};
  const Plan plan = Make();
  EXPECT_THAT(plan.read, ElementsAre(AdapterVersion(3), AdapterVersion(2)));
  EXPECT_THAT(plan.copy, ElementsAre(RequestId(2)));
}

TEST_F(SchedulerTest, TwoRequestsForOneAdapterCauseOneCopyAndTwoLeases) {
  snapshot_.adapters = {InHostMemory(1)};
  snapshot_.waiting = {Waiting(1, 1, 8), Waiting(2, 1, 8)};
  const Plan plan = Make();
  EXPECT_THAT(plan.copy, ElementsAre(RequestId(1)));
  EXPECT_THAT(plan.lease, ElementsAre(RequestId(2)));
}

TEST_F(SchedulerTest, AnAdapterBroughtInForAWaitingRequestIsNotTakenForALaterOne) {
  limits_.adapter_page_limit = 10;
  snapshot_.adapter_pages = 10;
  snapshot_.adapters = {Resident(1, 1), InHostMemory(2)};
  snapshot_.running = {Running(1, 0, 40, 39)};
  limits_.max_running = 1;  // So that request 2 stays behind with its lease.
  snapshot_.waiting = {Waiting(2, 1, 8, true), Waiting(3, 2, 8)};
  const Plan plan = Make();
  EXPECT_THAT(plan.copy, IsEmpty());
  EXPECT_THAT(plan.revoke, IsEmpty());
}

TEST_F(SchedulerTest, AnIdleAdapterGivesWayToAWaitingOne) {
  limits_.adapter_page_limit = 10;
  snapshot_.adapter_pages = 10;
  snapshot_.adapters = {Resident(1), InHostMemory(2)};
  snapshot_.waiting = {Waiting(1, 2, 8)};
  EXPECT_THAT(Make().copy, ElementsAre(RequestId(1)));
}

TEST_F(SchedulerTest, APinnedOneDoesNot) {
  limits_.adapter_page_limit = 10;
  snapshot_.adapter_pages = 10;
  snapshot_.adapters = {Resident(1), InHostMemory(2)};
  snapshot_.adapters[0].pinned = true;
  snapshot_.waiting = {Waiting(1, 2, 8)};
  EXPECT_THAT(Make().copy, IsEmpty());
}

TEST_F(SchedulerTest, TheAdapterOfARunningDecodeDoesNot) {
  limits_.adapter_page_limit = 15;
  snapshot_.adapter_pages = 10;
  snapshot_.adapters = {Resident(1, 1), InHostMemory(2)};
  snapshot_.running = {Running(1, 1, 40, 39)};
  snapshot_.waiting = {Waiting(2, 2, 8)};
  const Plan plan = Make();
  EXPECT_THAT(plan.copy, IsEmpty());
  EXPECT_THAT(plan.slices, ElementsAre(Slice{RequestId(1), 1}));
}

TEST_F(SchedulerTest, WhenNoRoomIsLeftTheFirstInLineKeepsTheNextRoom) {
  limits_.adapter_page_limit = 20;
  snapshot_.adapter_pages = 10;
  snapshot_.adapters = {Resident(1, 1), InHostMemory(2), InHostMemory(3)};
  snapshot_.adapters[1].pages = 12;
  snapshot_.running = {Running(1, 1, 40, 39)};
  snapshot_.waiting = {Waiting(2, 2, 8), Waiting(3, 3, 8)};
  EXPECT_THAT(Make().copy, IsEmpty());
}

TEST_F(SchedulerTest, TheYoungestIsSuspendedFirst) {
  snapshot_.free_pages = 1;
  snapshot_.running = {Running(1, 0, 33, 32), Running(2, 0, 33, 32), Running(3, 0, 33, 32)};
  for (SequenceView& view : snapshot_.running) view.pages = 2;
  const Plan plan = Make();
  EXPECT_THAT(plan.suspend, ElementsAre(RequestId(3)));
  EXPECT_THAT(plan.slices, ElementsAre(Slice{RequestId(1), 1}, Slice{RequestId(2), 1}));
}

TEST_F(SchedulerTest, NobodyStartsWhileSomebodyHadToBeSuspended) {
  snapshot_.free_pages = 1;
  snapshot_.running = {Running(1, 0, 33, 32), Running(2, 0, 33, 32)};
  for (SequenceView& view : snapshot_.running) view.pages = 2;
  snapshot_.waiting = {Waiting(3, 0, 4)};
  const Plan plan = Make();
  EXPECT_THAT(plan.suspend, ElementsAre(RequestId(2)));
  EXPECT_THAT(plan.slices, ElementsAre(Slice{RequestId(1), 1}));
}

TEST_F(SchedulerTest, AWaitingRequestsLeaseIsRevokedBeforeASequenceIsSuspended) {
  snapshot_.free_pages = 0;
  limits_.max_running = 2;
  snapshot_.adapters = {Resident(1, 1)};
  snapshot_.running = {Running(1, 0, 33, 32), Running(2, 0, 33, 32)};
  for (SequenceView& view : snapshot_.running) view.pages = 2;
  snapshot_.waiting = {Waiting(3, 1, 8, true)};
  const Plan plan = Make();
  EXPECT_THAT(plan.revoke, ElementsAre(RequestId(3)));
  EXPECT_THAT(plan.suspend, IsEmpty());
  EXPECT_EQ(plan.slices.size(), 2u);
}

TEST_F(SchedulerTest, CachedPrefixesGiveWayBeforeASequenceIsSuspended) {
  snapshot_.free_pages = 0;
  snapshot_.evictable_prefix_pages = 2;
  snapshot_.running = {Running(1, 0, 33, 32), Running(2, 0, 33, 32)};
  for (SequenceView& view : snapshot_.running) view.pages = 2;
  const Plan plan = Make();
  EXPECT_THAT(plan.suspend, IsEmpty());
  EXPECT_EQ(plan.slices.size(), 2u);
}

TEST_F(SchedulerTest, NoStepIsPlannedWhileNoMoreMayBeSubmittedButLoadsAre) {
  snapshot_.step_in_flight = true;
  snapshot_.may_step = false;
  snapshot_.adapters = {InHostMemory(1)};
  snapshot_.running = {Running(1, 0, 40, 39)};
  snapshot_.waiting = {Waiting(2, 1, 8)};
  const Plan plan = Make();
  EXPECT_THAT(plan.slices, IsEmpty());
  EXPECT_THAT(plan.copy, ElementsAre(RequestId(2)));
}

TEST_F(SchedulerTest, AStepIsPlannedBehindOneUnderWayWithoutWhatMayEndThere) {
  snapshot_.step_in_flight = true;
  snapshot_.running = {Running(1, 0, 40, 39), Running(2, 0, 40, 40)};
  snapshot_.waiting = {Waiting(3, 0, 8)};
  EXPECT_THAT(Make().slices, ElementsAre(Slice{RequestId(1), 1}, Slice{RequestId(3), 8}));
}

TEST_F(SchedulerTest, NobodyIsSuspendedBehindAStepUnderWay) {
  snapshot_.free_pages = 0;
  snapshot_.running = {Running(1, 0, 33, 32), Running(2, 0, 33, 32)};
  for (SequenceView& view : snapshot_.running) view.pages = 2;
  EXPECT_THAT(Make().suspend, ElementsAre(RequestId(2)));
  snapshot_.step_in_flight = true;
  const Plan plan = Make();
  EXPECT_THAT(plan.suspend, IsEmpty());
  EXPECT_THAT(plan.slices, IsEmpty());
}

TEST_F(SchedulerTest, BlockingQueuesNoStepWhileALoadIsWanted) {
  snapshot_.step_in_flight = true;
  snapshot_.running = {Running(1, 0, 40, 39)};
  EXPECT_EQ(Make(LoadPolicyKind::kBlocking).slices.size(), 1u);
  snapshot_.adapters = {InHostMemory(1)};
  snapshot_.waiting = {Waiting(2, 1, 8)};
  EXPECT_EQ(Make(LoadPolicyKind::kOverlapped).slices.size(), 1u);
  EXPECT_THAT(Make(LoadPolicyKind::kBlocking).slices, IsEmpty());
}

TEST_F(SchedulerTest, BlockingHoldsTheStepBackForLoadsThatItStarts) {
  snapshot_.adapters = {InHostMemory(1)};
  snapshot_.running = {Running(1, 0, 40, 39)};
  snapshot_.waiting = {Waiting(2, 1, 8)};
  const Plan plan = Make(LoadPolicyKind::kBlocking);
  EXPECT_THAT(plan.copy, ElementsAre(RequestId(2)));
  EXPECT_THAT(plan.slices, IsEmpty());
}

TEST_F(SchedulerTest, BlockingStartsNoLoadDuringAStep) {
  snapshot_.step_in_flight = true;
  snapshot_.adapters = {InHostMemory(1)};
  snapshot_.waiting = {Waiting(2, 1, 8)};
  EXPECT_FALSE(Make(LoadPolicyKind::kBlocking).starts_loads());
}

TEST_F(SchedulerTest, BlockingRunsAStepBetweenTwoGroupsOfLoads) {
  snapshot_.stepped_since_loads = false;
  snapshot_.adapters = {Resident(1, 1), Adapter(2, HostTier::kAbsent, DeviceTier::kAbsent)};
  snapshot_.waiting = {Waiting(1, 1, 8, true), Waiting(2, 2, 8)};
  const Plan plan = Make(LoadPolicyKind::kBlocking);
  EXPECT_THAT(plan.slices, ElementsAre(Slice{RequestId(1), 8}));
  EXPECT_THAT(plan.read, IsEmpty());
}

/// Adapters lie ready for those behind, who may not pass the first any more.
TEST_F(SchedulerTest, BlockingStartsLoadsAgainWhenNoStepCanRun) {
  snapshot_.stepped_since_loads = false;
  snapshot_.adapters = {Adapter(1, HostTier::kAbsent, DeviceTier::kAbsent), Resident(2, 1)};
  snapshot_.waiting = {Waiting(1, 1, 8), Waiting(2, 2, 8, true)};
  snapshot_.waiting[0].overtaken = limits_.max_overtakes;
  const Plan plan = Make(LoadPolicyKind::kBlocking);
  EXPECT_THAT(plan.slices, IsEmpty());
  EXPECT_THAT(plan.read, ElementsAre(AdapterVersion(1)));
}

TEST_F(SchedulerTest, PinnedAndAnnouncedAdaptersAreFetchedIntoFreePages) {
  snapshot_.free_pages = 10;
  snapshot_.adapters = {InHostMemory(1), InHostMemory(2), Resident(3, 1)};
  snapshot_.adapters[0].wanted_soon = true;
  snapshot_.adapters[1].pinned = true;
  EXPECT_THAT(Make().prefetch, ElementsAre(AdapterVersion(1)));
}

TEST_F(SchedulerTest, APinnedAdapterTakesThePlaceOfIdleOnesAndAnAnnouncedOneDoesNot) {
  snapshot_.free_pages = 5;
  snapshot_.adapters = {InHostMemory(1), Resident(2)};
  snapshot_.adapters[0].wanted_soon = true;
  EXPECT_THAT(Make().prefetch, IsEmpty());
  snapshot_.adapters[0].pinned = true;
  EXPECT_THAT(Make().prefetch, ElementsAre(AdapterVersion(1)));
  snapshot_.adapters[1].leases = 1;
  EXPECT_THAT(Make().prefetch, IsEmpty());
}

TEST_F(SchedulerTest, TheSameSnapshotGivesTheSamePlan) {
  limits_.max_prefill_tokens = 30;
  snapshot_.free_pages = 25;
  snapshot_.adapters = {Resident(1, 2), InHostMemory(2), Resident(3),
                        Adapter(4, HostTier::kAbsent, DeviceTier::kAbsent)};
  snapshot_.running = {Running(1, 1, 33, 32), Running(2, 0, 50, 10)};
  snapshot_.waiting = {Waiting(3, 2, 8), Waiting(4, 3, 8), Waiting(5, 4, 8),
                       Waiting(6, 1, 8, true)};
  const Plan first = Make();
  const Plan second = Make();
  EXPECT_EQ(first.slices, second.slices);
  EXPECT_EQ(first.suspend, second.suspend);
  EXPECT_EQ(first.revoke, second.revoke);
  EXPECT_EQ(first.lease, second.lease);
  EXPECT_EQ(first.copy, second.copy);
  EXPECT_EQ(first.read, second.read);
  EXPECT_EQ(first.prefetch, second.prefetch);
  EXPECT_FALSE(first.slices.empty());
}

}  // namespace
}  // namespace weft::engine
