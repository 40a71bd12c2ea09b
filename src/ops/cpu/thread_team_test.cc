#include "ops/cpu/thread_team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

namespace weft::ops::cpu {
namespace {

class ThreadTeamTest : public ::testing::TestWithParam<int> {};

TEST_P(ThreadTeamTest, EveryTaskRunsOnceInEveryLoop) {
  ThreadTeam team(GetParam(), "test-");
  ASSERT_EQ(team.size(), GetParam());
  std::vector<int32_t> counts;
  for (int32_t loop = 0; loop < 3000; ++loop) {
    const int32_t tasks = loop % 23;
    counts.assign(static_cast<size_t>(tasks), 0);
    // Plain writes: the team's own ordering must make them visible here.
    team.ParallelFor(tasks, [&](int32_t task, int thread) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, team.size());
      counts[static_cast<size_t>(task)] += task + loop;
    });
    for (int32_t task = 0; task < tasks; ++task)
      ASSERT_EQ(counts[static_cast<size_t>(task)], task + loop);
  }
}

TEST_P(ThreadTeamTest, EveryTaskOfEveryRangeRunsOnce) {
  ThreadTeam team(GetParam(), "test-");
  std::vector<int32_t> counts;
  for (int32_t loop = 0; loop < 3000; ++loop) {
    const int32_t tasks = loop % 37;
    counts.assign(static_cast<size_t>(tasks), 0);
    team.ParallelForRanges(tasks, [&](int32_t task, int thread) {
      EXPECT_LT(thread, team.size());
      counts[static_cast<size_t>(task)] += task + loop;
    });
    for (int32_t task = 0; task < tasks; ++task)
      ASSERT_EQ(counts[static_cast<size_t>(task)], task + loop);
    team.ParallelFor(3, [](int32_t, int) {});
  }
}

TEST_P(ThreadTeamTest, LoopsMayBeLong) {
  ThreadTeam team(GetParam(), "test-");
  constexpr int32_t kTasks = 150'000;
  std::vector<uint8_t> counts(kTasks);
  team.ParallelFor(kTasks, [&](int32_t task, int) { ++counts[static_cast<size_t>(task)]; });
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 1), kTasks);
  team.ParallelForRanges(kTasks, [&](int32_t task, int) { ++counts[static_cast<size_t>(task)]; });
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 2), kTasks);
}

TEST(ThreadTeamTest, AThreadWalksItsRangeFromItsStart) {
  ThreadTeam team(2, "test-");
  EXPECT_EQ(team.RangeBegin(10, 0), 0);
  EXPECT_EQ(team.RangeBegin(10, 1), 5);
  EXPECT_EQ(team.RangeBegin(10, 2), 10);
  std::vector<std::vector<int32_t>> taken(2);
  std::atomic<int> arrived{0};
  team.ParallelForRanges(10, [&](int32_t task, int thread) {
    auto& mine = taken[static_cast<size_t>(thread)];
    mine.push_back(task);
    // Neither thread goes on before both have begun.
    if (mine.size() == 1) ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(taken[0].front(), 0);
  EXPECT_EQ(taken[1].front(), 5);
}

/// A thread that has ended its range helps the others: all of another's range but the task at hand.
TEST(ThreadTeamTest, TakesFromTheEndsOfOthersRanges) {
  ThreadTeam team(2, "test-");
  std::atomic<int> done{0};
  std::atomic<bool> begun{false};
  std::vector<int32_t> helped;
  team.ParallelForRanges(10, [&](int32_t task, int thread) {
    if (task == 0) begun = true;
    while (!begun || (task == 0 && done < 9)) std::this_thread::yield();
    if (thread == 1 && task < 5) helped.push_back(task);
    ++done;
  });
  EXPECT_EQ(helped, (std::vector<int32_t>{4, 3, 2, 1}));
}

TEST_P(ThreadTeamTest, WakesAfterSleeping) {
  ThreadTeam team(GetParam(), "test-");
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // Longer than the spin.
    std::atomic<int> sum{0};
    team.ParallelFor(100, [&](int32_t task, int) { sum += task; });
    ASSERT_EQ(sum, 4950);
  }
}

TEST_P(ThreadTeamTest, WaitsForASlowLastTask) {
  ThreadTeam team(GetParam(), "test-");
  std::atomic<int> done{0};
  team.ParallelFor(team.size(), [&](int32_t task, int) {
    if (task == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ++done;
  });
  EXPECT_EQ(done, team.size());
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadTeamTest, ::testing::Values(1, 2, 3, 8));

TEST(ThreadTeamTest, BothThreadsWork) {
  ThreadTeam team(2, "test-");
  std::atomic<int> arrived{0};
  // Neither task ends before both have begun.
  team.ParallelFor(2, [&](int32_t, int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

}  // namespace
}  // namespace weft::ops::cpu
