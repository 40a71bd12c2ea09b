#include "engine/step_forecast.h"

#include <gtest/gtest.h>

namespace weft::engine {
namespace {

using std::chrono::milliseconds;

TEST(StepForecast, IsZeroBeforeAnythingHasEnded) {
  const StepForecast forecast;
  EXPECT_EQ(forecast.AtLeast(0), Duration{});
  EXPECT_EQ(forecast.AtLeast(1000), Duration{});
}

TEST(StepForecast, IsLessThanTheShortestOfTheLastDecodes) {
  StepForecast forecast;
  for (const int took : {2, 9, 8, 10, 12}) forecast.Observe(0, milliseconds(took));
  EXPECT_LT(forecast.AtLeast(0), milliseconds(8));
  EXPECT_GT(forecast.AtLeast(0), milliseconds(6));
}

TEST(StepForecast, AddsPrefillsByTheRow) {
  StepForecast forecast;
  forecast.Observe(0, milliseconds(8));
  forecast.Observe(1000, milliseconds(28));
  EXPECT_LT(forecast.AtLeast(500), milliseconds(18));
  EXPECT_GT(forecast.AtLeast(500), milliseconds(14));
}

TEST(StepForecast, DoesNotLearnWhatARowTakesFromAFew) {
  StepForecast forecast;
  forecast.Observe(0, milliseconds(8));
  forecast.Observe(3, milliseconds(14));
  EXPECT_LT(forecast.AtLeast(2000), milliseconds(8));
}

TEST(StepForecast, IsNeverLongerThanWhatJustEndedWithPrefills) {
  StepForecast forecast;
  for (int i = 0; i < 4; ++i) forecast.Observe(0, milliseconds(20));
  forecast.Observe(10, milliseconds(5));
  EXPECT_LT(forecast.AtLeast(0), milliseconds(5));
}

}  // namespace
}  // namespace weft::engine
