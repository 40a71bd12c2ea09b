#include "model/profile_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::model {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

/// A device of 40 GB/s and 400 GFLOP/s in bf16.
Profile OneDecodeStep() {
  Profile profile;
  profile.ceilings.memory_read.all = 40e9;
  profile.ceilings.bfloat16.all = 400e9;
  profile.ceilings.float32.all = 200e9;
  KindProfile& decode = profile.kinds[0];
  decode.steps = 2;
  decode.rows = 16;
  decode[StepPart::kDown] = {60, milliseconds(6), {80'000'000, 0, 0, 0, 0.4e9}};
  decode[StepPart::kPlan] = {2, milliseconds(2), {}};
  decode[StepPart::kIdle] = {1, milliseconds(500), {}};
  return profile;
}

TEST(FloorSecondsTest, IsTheLargerOfBoth) {
  Profile profile = OneDecodeStep();
  EXPECT_DOUBLE_EQ(FloorSeconds({40'000'000, 0, 0, 0, 0.1e9}, profile), 0.001);
  EXPECT_DOUBLE_EQ(FloorSeconds({0, 0, 0, 40'000'000, 0.8e9}, profile), 0.002);
  profile.dtype = DType::kFloat32;
  EXPECT_DOUBLE_EQ(FloorSeconds({0, 0, 0, 40'000'000, 0.8e9}, profile), 0.004);
  profile.ceilings = {};
  EXPECT_EQ(FloorSeconds({1, 0, 0, 0, 1}, profile), 0);
}

TEST(ProfileTextTest, SharesAreOfTheCeilingAndOfTheStepWithoutIdleTime) {
  const std::string text = ProfileText(OneDecodeStep());
  EXPECT_THAT(text, HasSubstr("decode steps: 2, 8.0 rows and 4.000 ms each, of which 3.000 ms"));
  // 6 ms in 60 calls; 40 MB, 0.2 GFLOP a step; 2 of 6 ms at the ceiling; 6 of 8 ms of the steps.
  EXPECT_THAT(text, HasSubstr("down              60      0.006      100.0      3.000      40.00"
                              "     0.200    13.3     66.7     33.3%   75.00%\n"));
  EXPECT_THAT(text, HasSubstr("25.00%"));
  EXPECT_THAT(text, Not(HasSubstr("prefill steps")));
  EXPECT_THAT(text, Not(HasSubstr("6250")));  // Idle time is no share of a step.
}

TEST(ProfileJsonTest, HasEveryKindAndPart) {
  const std::string json = ProfileJson(OneDecodeStep());
  EXPECT_THAT(json, HasSubstr(R"("decode": {"count": 2, "rows": 16, "seconds": 0.008000000)"));
  EXPECT_THAT(json, HasSubstr(R"("down": {"calls": 60, "seconds": 0.006000000, "bytes": )"
                              R"({"weights": 80000000, "kv": 0, "adapters": 0, "activations": 0}, )"
                              R"("operations": 400000000, "ceiling_share": 0.333333})"));
  EXPECT_THAT(json, HasSubstr(R"("mixed": {"count": 0)"));
}

}  // namespace
}  // namespace weft::model
