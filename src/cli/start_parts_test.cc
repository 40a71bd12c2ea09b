#include "cli/start_parts.h"

#include <gtest/gtest.h>

#include <future>

namespace weft::cli {
namespace {

TEST(StartParts, PartsRunSideBySide) {
  const SteadyClock clock;
  StartParts parts(clock);
  std::promise<void> from_first;
  std::promise<void> from_second;
  // Each waits for the other: one after another they would never end.
  parts.Begin("first", [&] {
    from_first.set_value();
    from_second.get_future().wait();
    return OkStatus();
  });
  parts.Begin("second", [&] {
    from_second.set_value();
    from_first.get_future().wait();
    return OkStatus();
  });
  EXPECT_TRUE(parts.Join().ok());
}

TEST(StartParts, TheEarliestErrorIsTheAnswerAndEveryPartHasEnded) {
  const SteadyClock clock;
  StartParts parts(clock);
  std::promise<void> second_failed;
  bool last_ended = false;
  parts.Begin("first", [&] {
    second_failed.get_future().wait();
    return Status(MakeError(ErrorCode::kIo, "the first"));
  });
  parts.Begin("second", [&] {
    second_failed.set_value();
    return Status(MakeError(ErrorCode::kIo, "the second"));
  });
  parts.Begin("last", [&] {
    last_ended = true;
    return OkStatus();
  });
  const Status status = parts.Join();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "the first");
  EXPECT_TRUE(last_ended);
}

class StepClock final : public Clock {
 public:
  Moment Now() const override { return now_ += std::chrono::milliseconds(250); }

 private:
  mutable Moment now_{};
};

TEST(StartParts, TimesAreCountedFromTheBeginning) {
  const StepClock clock;
  StartParts parts(clock);
  ASSERT_TRUE(parts.Run("files", [] { return OkStatus(); }).ok());
  EXPECT_FALSE(parts.Run("text", [] { return Status(MakeError(ErrorCode::kIo, "no text")); }).ok());
  EXPECT_EQ(parts.Times(), "files 0.25-0.50, text 0.75-1.00");
}

}  // namespace
}  // namespace weft::cli
