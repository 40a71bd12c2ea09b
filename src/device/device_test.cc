#include "device/device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "base/thread_role.h"
#include "device/device_for_test.h"

namespace weft::device {
namespace {

class DeviceTest : public ::testing::Test {
 protected:
  std::unique_ptr<Device> device_ = CreateDeviceForTest();
};

TEST_F(DeviceTest, MemoryIsZeroedAndAligned) {
  for (const Bytes bytes : {Bytes{1}, Bytes{5000}, 3 * kMiB + 1}) {
    Result<Buffer> buffer = device_->AllocateHost(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_GE(buffer->size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    for (Bytes i = 0; i < bytes; ++i) ASSERT_EQ(buffer->data()[i], std::byte{0});
  }
}

TEST_F(DeviceTest, TooMuchMemoryIsAnErrorThatSaysSo) {
  const Result<Buffer> buffer = device_->AllocateDevice(device_->total_memory() * 2);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(buffer.error().message.find("free"), std::string::npos) << buffer.error().message;
}

TEST_F(DeviceTest, MemoryFiguresAreSane) {
  EXPECT_GT(device_->free_memory(), 0);
  EXPECT_GE(device_->total_memory(), device_->free_memory());
}

TEST_F(DeviceTest, WorkRunsInOrder) {
  auto stream = device_->CreateStream(StreamPriority::kCompute, "compute");
  std::vector<int> seen;
  for (int i = 0; i < 100; ++i) stream->Call([&seen, i] { seen.push_back(i); });
  stream->Synchronize();
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
}

TEST_F(DeviceTest, CopyAndFill) {
  auto stream = device_->CreateStream(StreamPriority::kCopy, "copy");
  Buffer host = std::move(device_->AllocateHost(4096)).value();
  Buffer device = std::move(device_->AllocateDevice(4096)).value();
  std::memset(host.data(), 7, 4096);
  stream->Copy(device.data(), host.data(), 4000);
  stream->Fill(host.data(), kPoison, 4096);
  Buffer back = std::move(device_->AllocateHost(4096)).value();
  stream->Copy(back.data(), device.data(), 4096);
  stream->Synchronize();
  EXPECT_EQ(back.data()[3999], std::byte{7});
  EXPECT_EQ(back.data()[4000], std::byte{0});
  float value = 0;
  std::memcpy(&value, host.data(), sizeof value);
  EXPECT_TRUE(std::isnan(value));
}

TEST_F(DeviceTest, EventCompletesWithTheWorkBeforeIt) {
  auto stream = device_->CreateStream(StreamPriority::kCompute, "compute");
  auto event = device_->CreateEvent();
  EXPECT_TRUE(event->IsComplete());
  std::atomic<bool> go{false};
  stream->Call([&go] {
    while (!go) std::this_thread::yield();
  });
  stream->Record(*event);
  EXPECT_FALSE(event->IsComplete());
  go = true;
  event->Synchronize();
  EXPECT_TRUE(event->IsComplete());
}

TEST_F(DeviceTest, OneStreamWaitsForAnother) {
  auto copy = device_->CreateStream(StreamPriority::kCopy, "copy");
  auto compute = device_->CreateStream(StreamPriority::kCompute, "compute");
  auto event = device_->CreateEvent();
  std::atomic<bool> go{false};
  int value = 0;  // Written by one stream, read by the other: the event orders them.
  int seen = 0;
  copy->Call([&] {
    while (!go) std::this_thread::yield();
    value = 42;
  });
  copy->Record(*event);
  compute->WaitFor(*event);
  compute->Call([&] { seen = value; });
  go = true;
  compute->Synchronize();
  EXPECT_EQ(seen, 42);
}

TEST_F(DeviceTest, StreamsRunSideBySide) {
  auto copy = device_->CreateStream(StreamPriority::kCopy, "copy");
  auto compute = device_->CreateStream(StreamPriority::kCompute, "compute");
  std::atomic<int> arrived{0};
  const auto meet = [&arrived] {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  };
  copy->Call(meet);
  compute->Call(meet);  // Neither would end if the streams took turns.
  compute->Synchronize();
  copy->Synchronize();
  EXPECT_EQ(arrived, 2);
}

TEST_F(DeviceTest, WaitingRefersToTheRecordOfThatMoment) {
  auto first = device_->CreateStream(StreamPriority::kCopy, "first");
  auto second = device_->CreateStream(StreamPriority::kCompute, "second");
  auto event = device_->CreateEvent();
  std::atomic<bool> go{false};
  first->Record(*event);
  second->WaitFor(*event);
  first->Call([&go] {
    while (!go) std::this_thread::yield();
  });
  first->Record(*event);  // Later than what `second` waits for.
  second->Synchronize();  // Would hang if it waited for the later record.
  EXPECT_FALSE(event->IsComplete());
  go = true;
  first->Synchronize();
  EXPECT_TRUE(event->IsComplete());
}

TEST_F(DeviceTest, DestructorFinishesWhatIsQueued) {
  int done = 0;
  {
    auto stream = device_->CreateStream(StreamPriority::kCompute, "compute");
    for (int i = 0; i < 50; ++i) stream->Call([&done] { ++done; });
  }
  EXPECT_EQ(done, 50);
}

using DeviceDeathTest = DeviceTest;

TEST_F(DeviceDeathTest, TheEngineThreadMayNotBlock) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto event = device_->CreateEvent();
  const auto as_engine = [](auto call) {
    EngineThreadScope engine;
    call();
  };
  EXPECT_DEATH(as_engine([&] { event->Synchronize(); }), "Event::Synchronize");
  EXPECT_DEATH(as_engine([&] { (void)device_->AllocateHost(1); }), "AllocateHost");
  EXPECT_DEATH(as_engine([&] { device_->CreateStream(StreamPriority::kCopy, "x")->Synchronize(); }),
               "Stream::Synchronize");
}

}  // namespace
}  // namespace weft::device
