#include "memory/page_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <set>

namespace weft::memory {
namespace {

using ::testing::ElementsAre;

std::vector<int32_t> Values(const std::vector<PageIndex>& pages) {
  std::vector<int32_t> values;
  for (const PageIndex page : pages) values.push_back(page.value());
  return values;
}

int CountRuns(const std::vector<PageIndex>& pages) {
  int runs = pages.empty() ? 0 : 1;
  for (size_t i = 1; i < pages.size(); ++i) {
    if (pages[i].value() != pages[i - 1].value() + 1) ++runs;
  }
  return runs;
}

TEST(PagePool, AdaptersComeFromTheLowEndAndKvFromTheHighEnd) {
  PagePool pool(10);
  EXPECT_EQ(pool.total(), 9);
  EXPECT_THAT(Values(*pool.Allocate(3, PageUse::kAdapter)), ElementsAre(1, 2, 3));
  EXPECT_THAT(Values(*pool.Allocate(2, PageUse::kKv)), ElementsAre(8, 9));
  EXPECT_EQ(pool.used(PageUse::kAdapter), 3);
  EXPECT_EQ(pool.used(PageUse::kKv), 2);
  EXPECT_EQ(pool.free(), 4);
  EXPECT_EQ(pool.use(PageIndex(9)), PageUse::kKv);
  EXPECT_EQ(pool.use(PageIndex(4)), PageUse::kFree);
}

TEST(PagePool, PageZeroIsNeverGivenOut) {
  PagePool pool(65);
  EXPECT_FALSE(pool.Allocate(65, PageUse::kKv));
  const auto all = pool.Allocate(64, PageUse::kKv);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->front(), PageIndex(1));
  EXPECT_EQ(pool.free(), 0);
  EXPECT_FALSE(pool.Allocate(1, PageUse::kAdapter));
  EXPECT_TRUE(pool.Allocate(0, PageUse::kAdapter)->empty());
}

TEST(PagePool, AnAdapterGetsTheLowestRunThatIsLongEnough) {
  PagePool pool(21);
  ASSERT_TRUE(pool.Allocate(20, PageUse::kAdapter));
  const std::vector<PageIndex> given_back = {PageIndex(2),  PageIndex(4),  PageIndex(5),
                                             PageIndex(9),  PageIndex(10), PageIndex(11),
                                             PageIndex(15), PageIndex(16), PageIndex(17)};
  pool.Release(given_back, StepId(0));
  EXPECT_THAT(Values(*pool.Allocate(3, PageUse::kAdapter)), ElementsAre(9, 10, 11));
  EXPECT_THAT(Values(*pool.Allocate(1, PageUse::kAdapter)), ElementsAre(2));
  // No run of four is left: the longest one whole, and the rest from the lowest that holds it.
  EXPECT_THAT(Values(*pool.Allocate(4, PageUse::kAdapter)), ElementsAre(4, 15, 16, 17));
}

TEST(PagePool, AReleasedPageWaitsForItsStep) {
  PagePool pool(4);
  const auto pages = *pool.Allocate(3, PageUse::kKv);
  pool.StepCompleted(StepId(4));
  pool.Release(std::span(pages).subspan(0, 1), StepId(7));
  pool.Release(std::span(pages).subspan(1, 1), StepId(6));
  pool.Release(std::span(pages).subspan(2, 1), StepId(4));
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(pool.used(PageUse::kKv), 2);
  pool.StepCompleted(StepId(5));
  EXPECT_EQ(pool.free(), 1);
  pool.StepCompleted(StepId(6));
  EXPECT_EQ(pool.free(), 2);
  EXPECT_EQ(pool.use(pages[0]), PageUse::kKv);
  EXPECT_EQ(pool.use(pages[1]), PageUse::kFree);
  pool.StepCompleted(StepId(9));
  EXPECT_EQ(pool.free(), 3);
  EXPECT_EQ(pool.used(PageUse::kKv), 0);
}

TEST(PagePoolDeathTest, GivingBackTwiceIsAProgramError) {
  PagePool pool(4);
  const auto pages = *pool.Allocate(1, PageUse::kKv);
  pool.Release(pages, StepId(3));
  EXPECT_DEATH(pool.Release(pages, StepId(3)), "released_");
  const std::vector<PageIndex> zero = {PageIndex(0)};
  EXPECT_DEATH(pool.Release(zero, StepId(3)), "page.value");
}

/// The same rules, told by looking at every page.
class NaivePool {
 public:
  explicit NaivePool(int32_t page_count) : owner_(static_cast<size_t>(page_count), kNobody) {
    owner_[0] = kSomebody;
  }

  int32_t free() const { return static_cast<int32_t>(std::ranges::count(owner_, kNobody)); }
  void Take(const std::vector<PageIndex>& pages) {
    for (const PageIndex page : pages) {
      ASSERT_EQ(At(page), kNobody) << page.value();
      At(page) = kSomebody;
    }
  }
  void Release(PageIndex page, int64_t step) { At(page) = step <= completed_ ? kNobody : step; }
  void Complete(int64_t step) {
    completed_ = step;
    for (int64_t& owner : owner_) {
      if (owner >= 0 && owner <= step) owner = kNobody;
    }
  }

  /// Lengths of the runs of free pages, longest first.
  std::vector<int> Runs() const {
    std::vector<int> runs = {0};
    for (const int64_t owner : owner_) {
      if (owner == kNobody) {
        ++runs.back();
      } else {
        runs.push_back(0);
      }
    }
    std::ranges::sort(runs, std::greater());
    return runs;
  }
  int32_t HighestFree() const {
    return static_cast<int32_t>(owner_.rend() -
                                std::find(owner_.rbegin(), owner_.rend(), kNobody)) -
           1;
  }

 private:
  static constexpr int64_t kNobody = -2;
  static constexpr int64_t kSomebody = -1;
  int64_t& At(PageIndex page) { return owner_[static_cast<size_t>(page.value())]; }
  std::vector<int64_t> owner_;
  int64_t completed_ = 0;
};

int FewestRuns(const NaivePool& naive, int count) {
  int runs = 0;
  for (const int length : naive.Runs()) {
    if (count <= 0) break;
    count -= length;
    ++runs;
  }
  return runs;
}

void RunAgainstNaive(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto page_count = static_cast<int32_t>(2 + random() % 200);
  PagePool pool(page_count);
  NaivePool naive(page_count);
  std::vector<PageIndex> held;
  int64_t step = 0;
  for (int operation = 0; operation < 400; ++operation) {
    const uint64_t kind = random() % 10;
    if (kind < 4) {
      const auto count = static_cast<int32_t>(random() % 12);
      const bool adapter = random() % 2 == 0;
      const bool enough = count <= naive.free();
      const int fewest = enough ? FewestRuns(naive, count) : 0;
      const int32_t highest = naive.HighestFree();
      const auto pages = pool.Allocate(count, adapter ? PageUse::kAdapter : PageUse::kKv);
      ASSERT_EQ(pages.has_value(), enough);
      if (!enough) continue;
      ASSERT_EQ(static_cast<int32_t>(pages->size()), count);
      ASSERT_TRUE(std::ranges::is_sorted(*pages));
      if (adapter) {
        ASSERT_EQ(CountRuns(*pages), fewest);
      } else if (count > 0) {
        ASSERT_EQ(pages->back().value(), highest);
      }
      naive.Take(*pages);
      held.insert(held.end(), pages->begin(), pages->end());
    } else if (kind < 8 && !held.empty()) {
      std::ranges::shuffle(held, random);
      const size_t count = 1 + random() % held.size();
      const auto last = step + static_cast<int64_t>(random() % 5);
      const std::span pages(held.data() + held.size() - count, count);
      pool.Release(pages, StepId(last));
      for (const PageIndex page : pages) naive.Release(page, last);
      held.resize(held.size() - count);
    } else {
      step += static_cast<int64_t>(random() % 3);
      pool.StepCompleted(StepId(step));
      naive.Complete(step);
    }
    ASSERT_EQ(pool.free(), naive.free());
    ASSERT_EQ(pool.free() + pool.used(PageUse::kKv) + pool.used(PageUse::kAdapter), pool.total());
  }
}

TEST(PagePool, BehavesAsTheNaiveModel) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    RunAgainstNaive(seed);
    if (HasFatalFailure()) return;
  }
}

TEST(PagePool, AWornPoolOfFiftyThousandPagesStaysQuick) {
  PagePool pool(50'000);
  std::mt19937_64 random(7);
  std::vector<PageIndex> held = *pool.Allocate(pool.total(), PageUse::kKv);
  std::ranges::shuffle(held, random);
  held.resize(held.size() / 2);
  pool.Release(held, StepId(0));  // Every second page, so that all runs are short.
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) {
    const auto pages = pool.Allocate(160, PageUse::kAdapter);
    ASSERT_TRUE(pages);
    pool.Release(*pages, StepId(0));
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  // 64,000 operations. Looking through all pages for each would take minutes; the bound is slack
  // for sanitizers and busy machines.
  EXPECT_LT(took, std::chrono::seconds(5));
}

}  // namespace
}  // namespace weft::memory
