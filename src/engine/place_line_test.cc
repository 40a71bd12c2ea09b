#include "engine/place_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "engine/snapshot_for_test.h"

namespace weft::engine {
namespace {

using adapter::DeviceTier;
using adapter::HostTier;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Slice = Plan::Slice;

/// Two adapters run, of which the first is free soonest: request 1 ends in 10 steps.
class PlaceTest : public SchedulerTest {
 protected:
  PlaceTest() {
    snapshot_.adapters = {Resident(1, 1), Resident(2, 1), Resident(3)};
    snapshot_.running = {Running(1, 1, 40, 39), Running(2, 2, 40, 39)};
    snapshot_.running[0].tokens_left = 10;
    snapshot_.running[1].tokens_left = 100;
  }

  void RoomForTwoInAStep() { limits_.max_adapters_per_step = 2; }
  void RoomForTwoInMemory() {
    limits_.adapter_page_limit = 20;
    snapshot_.adapter_pages = 20;
    snapshot_.adapters[2] = InHostMemory(3);
  }
  void AddWaiting(int64_t id, int64_t adapter, int32_t tokens_left, bool has_lease = false) {
    snapshot_.waiting.push_back(Waiting(id, adapter, 8, has_lease));
    snapshot_.waiting.back().tokens_left = tokens_left;
  }
  /// Of the waiting requests.
  std::vector<int64_t> Started() {
    std::vector<int64_t> ids;
    for (const Slice& slice : Make().slices) {
      if (slice.id.value() > 2) ids.push_back(slice.id.value());
    }
    return ids;
  }
};

TEST_F(PlaceTest, NobodyLaterKeepsThePlaceInTheStepThatComesFreeFirst) {
  RoomForTwoInAStep();
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 11);
  AddWaiting(5, 1, 10);
  AddWaiting(6, 2, 200);
  AddWaiting(7, 0, 200);
  EXPECT_THAT(Started(), ElementsAre(5, 6, 7));
}

TEST_F(PlaceTest, NobodyLaterKeepsTheMemoryThatComesFreeFirst) {
  RoomForTwoInMemory();
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 11);
  AddWaiting(5, 1, 10);
  AddWaiting(6, 2, 200);
  EXPECT_THAT(Started(), ElementsAre(5, 6));
  EXPECT_THAT(Make().lease, IsEmpty());
}

/// The adapter that has drained is there still, and nobody copied over it yet.
TEST_F(PlaceTest, MemoryThatCameFreeIsTheFirstInLines) {
  RoomForTwoInMemory();
  snapshot_.running.erase(snapshot_.running.begin());
  snapshot_.adapters[0].leases = 0;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 5);
  EXPECT_THAT(Started(), IsEmpty());
  EXPECT_THAT(Make().copy, ElementsAre(RequestId(3)));
}

TEST_F(PlaceTest, EarlierRequestsJoinAndAnotherAdapterIsFreeSoonestThen) {
  RoomForTwoInAStep();
  AddWaiting(3, 1, 150);
  AddWaiting(4, 3, 5);
  AddWaiting(5, 1, 200);
  AddWaiting(6, 2, 101);
  EXPECT_THAT(Started(), ElementsAre(3, 5));
}

TEST_F(PlaceTest, NobodyWaitsWhereThereIsRoomForAll) {
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 11);
  AddWaiting(5, 2, 200);
  EXPECT_THAT(Started(), ElementsAre(3, 4, 5));
}

TEST_F(PlaceTest, NobodyWaitsForAnAdapterThatIsStillRead) {
  RoomForTwoInMemory();
  snapshot_.adapters[2].host = HostTier::kReading;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 11);
  EXPECT_THAT(Started(), ElementsAre(4));
}

TEST_F(PlaceTest, AsManyDrainAsTheFirstInLineNeedsPagesOf) {
  RoomForTwoInMemory();
  snapshot_.adapters[2].pages = 20;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 101);
  AddWaiting(5, 2, 101);
  AddWaiting(6, 2, 100);
  EXPECT_THAT(Started(), ElementsAre(6));
}

TEST_F(PlaceTest, APinnedAdapterDrainsForNobodysPages) {
  RoomForTwoInMemory();
  snapshot_.adapters[0].pinned = true;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 200);
  AddWaiting(5, 2, 101);
  EXPECT_THAT(Started(), ElementsAre(4));
}

TEST_F(PlaceTest, APlaceIsKeptForAnAdapterThatIsBeingCopied) {
  limits_.max_adapters_per_step = 3;
  snapshot_.adapters[2] = Adapter(3, HostTier::kReady, DeviceTier::kCopying, 1);
  snapshot_.adapters.push_back(Resident(4));
  AddWaiting(3, 3, 5, true);
  AddWaiting(4, 4, 5);
  AddWaiting(5, 3, 5);
  EXPECT_THAT(Started(), IsEmpty());
  limits_.max_adapters_per_step = 4;
  EXPECT_THAT(Started(), ElementsAre(4));
}

/// Its lease holds pages, which do not come free before it ran.
TEST_F(PlaceTest, WhoHoldsALeaseRunsWherePagesAreLacking) {
  RoomForTwoInMemory();
  snapshot_.adapters[0].leases = 2;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 50, true);
  AddWaiting(5, 1, 51);
  EXPECT_THAT(Started(), ElementsAre(4));
}

/// It takes no more pages, though the running ones leave none.
TEST_F(PlaceTest, AnAdapterThatIsThereHasItsPlaceWhereNoPageIsFree) {
  limits_.max_adapters_per_step = 3;
  snapshot_.free_pages = 2;
  snapshot_.running.insert(snapshot_.running.begin(), Running(0, 0, 40, 39));
  snapshot_.adapters[2].leases = 1;
  AddWaiting(3, 3, 5, true);
  AddWaiting(4, 1, 200);
  EXPECT_THAT(Started(), ElementsAre(3, 4));
}

/// An adapter that is there needs no pages for those that run to grow into, as a copied one does.
TEST_F(PlaceTest, AnIdleAdapterIsUsedWhereFewPagesAreFree) {
  snapshot_.running.clear();
  for (int64_t id = -8; id < 0; ++id) snapshot_.running.push_back(Running(id, 0, 40, 39));
  snapshot_.adapters = {Resident(3)};
  snapshot_.adapter_pages = 10;
  snapshot_.free_pages = 5;
  AddWaiting(3, 3, 5);
  EXPECT_THAT(Started(), ElementsAre(3));
}

TEST_F(PlaceTest, APromptUnderWayCountsByItsChunks) {
  RoomForTwoInAStep();
  limits_.max_prefill_tokens = 16;
  snapshot_.running[0] = Running(1, 1, 40, 0);  // Three chunks, the last gives a token.
  snapshot_.running[0].tokens_left = 2;
  snapshot_.running[1].tokens_left = 5;
  AddWaiting(3, 3, 5);
  AddWaiting(4, 1, 5);
  AddWaiting(5, 1, 4);
  snapshot_.waiting.back().known = 1;
  snapshot_.running[0].computed = 30;  // 10 remain: 6 of the budget are left for others.
  EXPECT_THAT(Started(), IsEmpty());
  snapshot_.running[0].computed = 0;
  snapshot_.running[0].known = 15;
  snapshot_.running[0].tokens_left = 4;
  EXPECT_THAT(Started(), ElementsAre(5));
}

}  // namespace
}  // namespace weft::engine
