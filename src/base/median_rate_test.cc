#include "base/median_rate.h"

#include <gtest/gtest.h>

#include <vector>

namespace weft {
namespace {

class SetClock final : public Clock {
 public:
  Moment Now() const override { return now; }
  Moment now{};
};

TEST(MedianRateTest, OneSlowRunOfThreeSaysNothing) {
  SetClock clock;
  // The first call is not counted; then three runs of one call each.
  const std::vector<int> seconds = {100, 2, 50, 4};
  size_t call = 0;
  const double rate = MedianRate(clock, {3, std::chrono::seconds(1)}, [&] {
    clock.now += std::chrono::seconds(seconds.at(call++));
    return 8.0;
  });
  EXPECT_DOUBLE_EQ(rate, 2.0);  // 4, 0.16 and 2 a second.
  EXPECT_EQ(call, 4u);
}

TEST(MedianRateTest, ARunGoesOnUntilItsTimeIsFilled) {
  SetClock clock;
  int calls = 0;
  const double rate = MedianRate(clock, {1, std::chrono::seconds(10)}, [&] {
    ++calls;
    clock.now += std::chrono::seconds(4);
    return 1.0;
  });
  EXPECT_EQ(calls, 1 + 3);
  EXPECT_DOUBLE_EQ(rate, 0.25);
}

TEST(MedianRateTest, TheMedianOfAnEvenNumberLiesBetween) {
  SetClock clock;
  const std::vector<int> seconds = {1, 1, 2};
  size_t call = 0;
  const double rate = MedianRate(clock, {2, std::chrono::seconds(1)}, [&] {
    clock.now += std::chrono::seconds(seconds.at(call++));
    return 1.0;
  });
  EXPECT_DOUBLE_EQ(rate, 0.75);
}

}  // namespace
}  // namespace weft
