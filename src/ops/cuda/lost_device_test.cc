// A GPU that is lost in mid-run ends the process at once, whichever thread meets it first.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "base/thread_role.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"
#include "ops/cuda/faulty_kernel_for_test.h"

namespace weft::ops::cuda {
namespace {

/// Two streams copy and wait, as compute and copies of a server do, while the GPU is lost. The
/// driver takes its time to notice; half a minute is a hang.
void UseALostDevice() {
  const auto device = std::move(device::cuda::CreateDevice(AssertMayBlock)).value();
  const auto memory = std::move(device->AllocateDevice(kMiB)).value();
  const auto host = std::move(device->AllocateHost(kMiB)).value();
  const auto some = device->CreateStream(device::StreamPriority::kCompute, "some");
  const auto other = device->CreateStream(device::StreamPriority::kCopy, "other");
  LaunchFaultyKernel(nullptr);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < limit) {
    some->Copy(memory.data(), host.data(), kMiB);
    other->Copy(memory.data(), host.data(), kMiB);
    some->Call([] {});
    other->Synchronize();
  }
}

TEST(LostDeviceDeathTest, OneLineAndAnExitCodeWithoutAHang) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(UseALostDevice(), ::testing::ExitedWithCode(device::cuda::kLostDeviceExitCode),
              "^weft: the GPU stopped working: [^\n]*\n$");
}

}  // namespace
}  // namespace weft::ops::cuda
