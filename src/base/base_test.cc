#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "base/bfloat16.h"
#include "base/bounded_queue.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/philox.h"
#include "base/result.h"
#include "base/thread_role.h"

namespace weft {
namespace {

TEST(Bytes, ParsesUnits) {
  EXPECT_EQ(*ParseBytes("512MiB"), 512 * kMiB);
  EXPECT_EQ(*ParseBytes("2GB"), 2'000'000'000);
  EXPECT_EQ(*ParseBytes("4096"), 4096);
  EXPECT_EQ(*ParseBytes("1.5GiB"), 3 * kGiB / 2);
  for (const char* bad : {"", "MiB", "-1", "5 apples", "1e400", "nan", "12XB"}) {
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  }
}

TEST(Bytes, FormatsForPeople) {
  EXPECT_EQ(FormatBytes(360 * kKiB), "360 KiB");
  EXPECT_EQ(FormatBytes(5 * kGiB / 4), "1.25 GiB");
  EXPECT_EQ(FormatBytes(12), "12 B");
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(ToBFloat16(1.0F).bits, 0x3f80);
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(ToFloat(ToBFloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isinf(ToFloat(ToBFloat16(std::numeric_limits<float>::max()))));
}

// Known answers from the generator's authors (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UnitIntervalIsOpen) {
  EXPECT_GT(OpenUnitInterval(0), 0.0F);
  EXPECT_LT(OpenUnitInterval(0xffffffffu), 1.0F);
}

TEST(BoundedQueue, RefusesBeyondItsLimitAndDrainsAfterClose) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  queue.Close();
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), 2);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_FALSE(queue.Push(4));
}

TEST(File, ShortReadIsAnError) {
  const std::string path = testing::TempDir() + "/weft_base_test_short";
  std::ofstream(path) << "abc";
  auto file = LocalFiles().Open(path);
  ASSERT_TRUE(file.ok());
  std::array<std::byte, 4> buffer{};
  const Status status = (*file)->Read(0, buffer);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("cut short"), std::string::npos);
  EXPECT_EQ(LocalFiles().Open(path + "-absent").error().code, ErrorCode::kNotFound);
}

TEST(File, AnOverwriteThatKeepsSizeAndTimeHasAnotherStamp) {
  const std::string path = testing::TempDir() + "/weft_base_test_stamp";
  std::ofstream(path) << "abc";
  const auto time = std::filesystem::last_write_time(path);
  const FileStamp before = *LocalFiles().Stat(path);
  EXPECT_EQ(*LocalFiles().Stat(path), before);
  std::this_thread::sleep_for(
      std::chrono::milliseconds(20));  // Coarser than any kernel's file times.
  std::ofstream(path) << "xyz";
  std::filesystem::last_write_time(path, time);
  const FileStamp after = *LocalFiles().Stat(path);
  EXPECT_EQ(after.size, before.size);
  EXPECT_EQ(after.modified_ns, before.modified_ns);
  EXPECT_NE(after, before);
}

TEST(ThreadRoleDeathTest, BlockingCallsAbortOnTheEngineThread) {
  EXPECT_DEATH(
      {
        EngineThreadScope engine;
        (void)LocalFiles().Stat("/");
      },
      "promise P1 broken");
}

Result<int> Half(int value) {
  if (value % 2 != 0) return MakeError(ErrorCode::kInvalidArgument, "{} is odd", value);
  return value / 2;
}
Result<int> Quarter(int value) {
  WEFT_ASSIGN_OR_RETURN(const int half, Half(value));
  return Half(half);
}

TEST(Result, PropagatesErrors) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
}

}  // namespace
}  // namespace weft
