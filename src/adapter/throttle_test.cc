#include "adapter/throttle.h"

#include <gtest/gtest.h>

namespace weft::adapter {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Moment kStart{std::chrono::hours(1)};

TEST(Throttle, WithoutACapNobodyWaits) {
  Throttle throttle(0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(throttle.Reserve(kGiB, kStart), Duration::zero());
  EXPECT_EQ(throttle.Delay(kStart), Duration::zero());
}

TEST(Throttle, EachTransferWaitsUntilThoseBeforeItArePaidFor) {
  Throttle throttle(1'000'000);
  EXPECT_EQ(throttle.Reserve(1'000'000, kStart), Duration::zero());
  EXPECT_EQ(throttle.Delay(kStart), seconds(1) - Throttle::kCredit);
  EXPECT_EQ(throttle.Reserve(500'000, kStart), seconds(1) - Throttle::kCredit);
  EXPECT_EQ(throttle.Reserve(1, kStart + milliseconds(500)), seconds(1) - Throttle::kCredit);
}

TEST(Throttle, IdleTimeIsCreditedForAShortWhileOnly) {
  Throttle throttle(1'000'000);
  ASSERT_EQ(throttle.Reserve(100'000, kStart), Duration::zero());
  const Moment later = kStart + seconds(100);
  EXPECT_EQ(throttle.Reserve(100'000, later), Duration::zero());
  EXPECT_EQ(throttle.Delay(later), milliseconds(100) - Throttle::kCredit);
}

TEST(Throttle, ACallerThatWaitsMovesTheCappedRate) {
  Throttle throttle(1'000'000);
  Moment now = kStart;
  for (int i = 0; i < 1000; ++i) {
    const Duration wait = throttle.Reserve(10'000, now);
    now += wait + (wait > Duration::zero() ? milliseconds(3) : milliseconds(0));  // Woken late.
  }
  EXPECT_NEAR(Seconds(now - kStart), 10.0, 0.05);
}

}  // namespace
}  // namespace weft::adapter
