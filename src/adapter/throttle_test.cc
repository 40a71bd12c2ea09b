#include "adapter/throttle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

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

TEST(Throttle, PiecesAreSmallUnderASmallCapOnly) {
  EXPECT_EQ(Throttle::PieceUnder(0, 8 * kMiB), 8 * kMiB);
  EXPECT_EQ(Throttle::PieceUnder(100'000'000, 8 * kMiB), 2'000'000);
  EXPECT_EQ(Throttle::PieceUnder(10 * kGiB, 8 * kMiB), 8 * kMiB);
  EXPECT_EQ(Throttle::PieceUnder(10, 8 * kMiB), 1);
}

/// Two threads that move pieces of the size that PieceUnder says, as fast as they may: each waits
/// what Reserve answers, wakes up to a millisecond late, and takes `work` to move a piece.
TEST(Throttle, EverySecondMovesTheCappedRateWithinFivePercent) {
  constexpr Bytes kRate = 100'000'000;
  for (const Duration work : {Duration(0), Duration(milliseconds(15))}) {
    Throttle throttle(kRate);
    const Bytes piece = Throttle::PieceUnder(kRate, 8 * kMiB);
    std::vector<Moment> begun;
    Moment free[] = {kStart, kStart};  // When each thread asks again.
    while (std::max(free[0], free[1]) < kStart + seconds(10)) {
      Moment& thread = free[0] <= free[1] ? free[0] : free[1];
      const Duration wait = throttle.Reserve(piece, thread);
      const Duration late = wait > Duration::zero() ? milliseconds(1) : Duration::zero();
      begun.push_back(thread + wait + late);
      thread = begun.back() + work;
    }
    std::sort(begun.begin(), begun.end());
    for (Moment from = kStart; from < kStart + seconds(8); from += milliseconds(10)) {
      const auto first = std::lower_bound(begun.begin(), begun.end(), from);
      const auto last = std::lower_bound(begun.begin(), begun.end(), from + seconds(1));
      const auto moved = static_cast<double>((last - first) * piece);
      ASSERT_NEAR(moved / static_cast<double>(kRate), 1.0, 0.05) << Seconds(from - kStart);
    }
  }
}

}  // namespace
}  // namespace weft::adapter
