#include "ops/cpu/thread_team.h"

#include <gtest/gtest.h>

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
