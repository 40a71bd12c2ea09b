#include "engine/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "engine/snapshot_for_test.h"

namespace weft::engine {
namespace {

using adapter::DeviceTier;
using adapter::HostTier;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

constexpr Duration kPatience = milliseconds(2000);
constexpr Duration kLong = milliseconds(3000);
constexpr Duration kSoon = milliseconds(1);
constexpr Duration kAWhile = milliseconds(500);

/// Two places in a step. Adapters 1 and 2 have run for long, each with one sequence, which takes
/// 100 steps more; requests 1 and 2.
class TurnsTest : public SchedulerTest {
 protected:
  TurnsTest() {
    limits_.turn_patience = kPatience;
    limits_.turn_slice = milliseconds(200);
    limits_.max_adapters_per_step = 2;
    snapshot_.adapters = {Resident(1, 1), Resident(2, 1), Resident(3), Resident(4)};
    snapshot_.running = {Running(1, 1, 40, 39), Running(2, 2, 40, 39)};
    for (int i = 0; i < 2; ++i) {
      snapshot_.running[i].tokens_left = 100;
      snapshot_.adapters[i].has_turn = true;
      snapshot_.adapters[i].turn_time = kLong;
    }
  }

  SequenceView& AddWaiting(int64_t id, int64_t adapter, Duration stood, int32_t tokens_left) {
    snapshot_.waiting.push_back(Waiting(id, adapter, 8));
    snapshot_.waiting.back().stood = stood;
    snapshot_.waiting.back().tokens_left = tokens_left;
    return snapshot_.waiting.back();
  }
  SequenceView& AddPaused(int64_t id, int64_t adapter, Duration stood, int32_t tokens_left) {
    SequenceView& view = AddWaiting(id, adapter, stood, tokens_left);
    view.known = 40;
    view.computed = 39;
    view.pages = 3;
    view.paused = true;
    return view;
  }
  std::vector<int64_t> Holders() const {
    std::vector<int64_t> holders;
    for (const AdapterVersion version : Turns(snapshot_, limits_).Holders())
      holders.push_back(version.value());
    return holders;
  }
};

TEST_F(TurnsTest, EverybodyHasATurnWhereThereIsRoomForAll) {
  limits_.max_adapters_per_step = 3;
  AddWaiting(3, 3, kSoon, 1000);
  EXPECT_THAT(Holders(), ElementsAre(1, 2, 3));
  EXPECT_THAT(Make().pause, IsEmpty());
}

TEST_F(TurnsTest, WhoStandsStillForLongHasThePlaceOfWhoCompletesLeast) {
  AddWaiting(3, 3, kLong, 1000);
  snapshot_.running[0].tokens_left = 50;
  const Plan plan = Make();
  EXPECT_THAT(*plan.turns, ElementsAre(AdapterVersion(1), AdapterVersion(3)));
  EXPECT_THAT(plan.pause, ElementsAre(RequestId(2)));
  EXPECT_THAT(plan.slices, ElementsAre(Plan::Slice{RequestId(1), 1}, Plan::Slice{RequestId(3), 8}));
}

TEST_F(TurnsTest, WhoWasStandingLongestComesFirst) {
  AddWaiting(3, 3, kLong, 10);
  AddWaiting(4, 4, kLong + kSoon, 1000);
  limits_.max_adapters_per_step = 1;
  EXPECT_THAT(Holders(), ElementsAre(4));
}

TEST_F(TurnsTest, ATurnThatHasBegunStaysForASlice) {
  AddWaiting(3, 3, kLong, 10);
  for (int i = 0; i < 2; ++i) snapshot_.adapters[i].turn_time = milliseconds(199);
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
  snapshot_.adapters[1].turn_time = milliseconds(200);
  EXPECT_THAT(Holders(), ElementsAre(1, 3));
}

TEST_F(TurnsTest, ATurnStaysUntilItsFirstTokenHoweverLongThatTakes) {
  AddWaiting(3, 3, kLong, 10);
  snapshot_.adapters[0].turn_time.reset();
  snapshot_.adapters[1].turn_time.reset();
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
}

TEST_F(TurnsTest, WhereNoMoreSequencesMayRunTheCopyForATurnIsNotInVainEither) {
  snapshot_.running.back().adapter = kBaseModel;
  snapshot_.adapters[1] = Adapter(2, HostTier::kReady, DeviceTier::kCopying, 1);
  snapshot_.adapters[1].has_turn = true;
  AddWaiting(3, 2, kSoon, 1000).has_lease = true;
  limits_.max_adapters_per_step = 1;
  limits_.max_running = 1;
  EXPECT_THAT(Holders(), ElementsAre(2));
}

TEST_F(TurnsTest, TheCopyForATurnIsNotInVain) {
  snapshot_.running.pop_back();
  snapshot_.adapters[1] = Adapter(2, HostTier::kReady, DeviceTier::kCopying, 1);
  snapshot_.adapters[1].has_turn = true;
  AddWaiting(2, 2, kSoon, 1000).has_lease = true;
  AddWaiting(3, 3, kLong, 10);
  AddWaiting(4, 4, kLong, 10);
  EXPECT_THAT(Holders(), IsSupersetOf({2}));
}

TEST_F(TurnsTest, ATurnThatCompletesTwiceAsMuchBeginsEarlier) {
  AddWaiting(3, 3, kAWhile, 110);
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
  AddWaiting(4, 3, kSoon, 110);  // Together a little less than twice of what one completes.
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
  AddWaiting(5, 3, kSoon, 110);
  EXPECT_THAT(Holders(), ElementsAre(1, 3));
}

TEST_F(TurnsTest, NobodyPausesForWhoJustCame) {
  AddWaiting(3, 3, kSoon, 1);
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
}

TEST_F(TurnsTest, AnImageThatWouldHaveToBeReadAgainStaysLonger) {
  snapshot_.adapters[0].host = HostTier::kAbsent;
  snapshot_.running[1].tokens_left = 50;
  AddWaiting(3, 3, kAWhile, 5);
  EXPECT_THAT(Holders(), ElementsAre(1, 3));
}

/// It could not be read again: its files may be another adapter's by now.
TEST_F(TurnsTest, AnUnloadedAdapterWithoutAnImageKeepsItsTurn) {
  AddWaiting(3, 3, kLong, 10);
  snapshot_.running[0].tokens_left = 10;
  EXPECT_THAT(Holders(), ElementsAre(1, 3));
  snapshot_.adapters[1].host = HostTier::kAbsent;
  snapshot_.adapters[1].draining = true;
  EXPECT_THAT(Holders(), ElementsAre(2, 3));
}

TEST_F(TurnsTest, ALongPromptDoesNotKeepWhoDecodesFromGoingOn) {
  snapshot_.running.pop_back();
  snapshot_.running[0].known = 5000;
  snapshot_.running[0].computed = 0;
  snapshot_.adapters[1] = Resident(2);
  AddPaused(2, 2, kSoon, 100);
  EXPECT_THAT(Make().slices,
              ElementsAre(Plan::Slice{RequestId(1), 512}, Plan::Slice{RequestId(2), 1}));
}

/// One that stands still for long lacks pages; who holds what the other waits for goes on.
TEST_F(TurnsTest, WhoPausedGoesOnWhereSomebodyBeforeItLacksPages) {
  snapshot_.running.pop_back();
  snapshot_.adapters[1] = Resident(2);
  snapshot_.free_pages = 3;
  AddPaused(2, 2, kSoon, 100);
  AddWaiting(3, 3, kLong, 10).known = 1000;
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
}

TEST_F(TurnsTest, TheSameFreePagesAreForOneThatStarts) {
  limits_.max_adapters_per_step = 4;
  for (int i = 0; i < 2; ++i) snapshot_.adapters[i].turn_time = milliseconds(0);
  AddWaiting(3, 3, kLong + kSoon, 10).known = 800;
  AddWaiting(4, 4, kLong, 10).known = 800;
  snapshot_.free_pages = 2 * limits_.PagesFor(801) + 2;
  EXPECT_THAT(Holders(), ElementsAre(1, 2, 3, 4));
  snapshot_.free_pages -= 1;
  EXPECT_THAT(Holders(), ElementsAre(1, 2, 3));
}

TEST_F(TurnsTest, WhereNoMoreSequencesMayRunNobodyPausesForOneThatCannotStart) {
  snapshot_.adapters[0].turn_time = milliseconds(0);  // It keeps its turn.
  AddWaiting(3, 3, kLong, 10);
  limits_.max_running = 2;
  EXPECT_THAT(Holders(), ElementsAre(1, 3));
  limits_.max_running = 1;
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
  limits_.max_adapters_per_step = 3;
  EXPECT_THAT(Holders(), ElementsAre(1, 2, 3));
}

TEST_F(TurnsTest, AnAdapterThatManyWaitForIsLeasedOnce) {
  limits_.max_running = 2;
  AddWaiting(3, 3, kSoon, 10);
  AddWaiting(4, 3, kSoon, 10);
  EXPECT_THAT(Make().lease, ElementsAre(RequestId(3)));
}

TEST_F(TurnsTest, OneThatPausedGoesOnWhereItWas) {
  snapshot_.running.pop_back();
  snapshot_.adapters[1] = Resident(2);
  AddPaused(2, 2, kSoon, 100);
  const Plan plan = Make();
  EXPECT_THAT(plan.slices, ElementsAre(Plan::Slice{RequestId(1), 1}, Plan::Slice{RequestId(2), 1}));
}

TEST_F(TurnsTest, OneThatPausedWaitsForTheStepThatStillComputesIt) {
  snapshot_.running.pop_back();
  snapshot_.adapters[1] = Resident(2);
  AddPaused(2, 2, kSoon, 100).known = 39;
  EXPECT_THAT(Make().slices, ElementsAre(Plan::Slice{RequestId(1), 1}));
}

TEST_F(TurnsTest, AnImageInHostMemoryIsCopiedForItsTurn) {
  limits_.adapter_page_limit = 20;
  snapshot_.adapter_pages = 20;
  snapshot_.adapters = {snapshot_.adapters[0], snapshot_.adapters[1], InHostMemory(3)};
  AddWaiting(3, 3, kLong, 10);
  const Plan plan = Make();
  EXPECT_THAT(plan.pause, ElementsAre(RequestId(2)));
  EXPECT_THAT(plan.copy, ElementsAre(RequestId(3)));
}

TEST_F(TurnsTest, AnAdapterThatIsStillReadTakesNobodysPlace) {
  snapshot_.adapters[2] = Adapter(3, HostTier::kReading, DeviceTier::kAbsent);
  AddWaiting(3, 3, kLong, 10);
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
}

TEST_F(TurnsTest, WhoWasPassedOftenComesBeforeWhoStandsLonger) {
  limits_.max_overtakes = 5;
  AddWaiting(3, 3, kAWhile, 1000).overtaken = 5;
  AddWaiting(4, 4, kLong, 10);
  limits_.max_adapters_per_step = 1;
  EXPECT_THAT(Holders(), ElementsAre(3));
}

/// Adapter 3's request would have to pass one that nobody may pass any more.
TEST_F(TurnsTest, WhoMayNotStartAnywayTakesNobodysPlace) {
  limits_.max_overtakes = 5;
  snapshot_.adapters[3] = Adapter(4, HostTier::kReading, DeviceTier::kAbsent);
  AddWaiting(3, 4, kLong, 10).overtaken = 5;
  AddWaiting(4, 3, kLong, 10);
  EXPECT_THAT(Holders(), ElementsAre(1, 2));
}

TEST_F(TurnsTest, KvOfWhoPausedGivesWayToWhoRuns) {
  snapshot_.running.pop_back();
  snapshot_.adapters[1] = Resident(2);
  AddPaused(2, 2, kSoon, 100);
  limits_.max_adapters_per_step = 1;
  snapshot_.free_pages = 0;
  snapshot_.adapters = {snapshot_.adapters[0], InHostMemory(2)};
  snapshot_.running[0].known = 49;
  snapshot_.running[0].computed = 48;
  const Plan plan = Make();
  EXPECT_THAT(plan.suspend, ElementsAre(RequestId(2)));
  EXPECT_THAT(plan.slices, ElementsAre(Plan::Slice{RequestId(1), 1}));
}

TEST_F(TurnsTest, WhileLoadsCannotBeginNobodysTurnEnds) {
  AddWaiting(3, 3, kLong, 10);
  snapshot_.may_load = false;
  const Plan plan = Make();
  EXPECT_FALSE(plan.turns.has_value());
  EXPECT_THAT(plan.pause, IsEmpty());
}

}  // namespace
}  // namespace weft::engine
