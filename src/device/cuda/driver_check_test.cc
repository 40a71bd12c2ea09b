#include "device/cuda/driver_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/cuda/cuda_error.h"

namespace weft::device::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void ExpectError(const DriverState& state, ErrorCode code, const char* what) {
  const Status status = CheckDriver(state);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, code);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr(what), Not(HasSubstr("\n"))));
}

TEST(DriverCheck, EachReasonHasItsLine) {
  ExpectError({}, ErrorCode::kUnavailable, "no NVIDIA driver on this machine");
  ExpectError({.driver = 12080}, ErrorCode::kUnsupported,
              "too old: it offers CUDA 12.8, Weft needs 13.0");
  ExpectError({.driver = 13000, .count = 0}, ErrorCode::kUnavailable, "no GPU on this machine");
  ExpectError({.driver = 13000, .count_error = cudaErrorNoDevice}, ErrorCode::kUnavailable,
              "CUDA_VISIBLE_DEVICES");
  ExpectError({.driver = 13000, .count_error = cudaErrorSystemDriverMismatch}, ErrorCode::kInternal,
              "looking for a GPU: CUDA says");
  EXPECT_TRUE(CheckDriver({.driver = 13010, .count = 1}).ok());
}

TEST(DriverCheck, WithoutADriverNoGpuIsCounted) {
  const DriverState state = AskDriver();
  EXPECT_TRUE(state.driver > 0 || state.count == 0);
  EXPECT_EQ(CheckDriver(state).ok(), state.count > 0);
}

TEST(LostDeviceDeathTest, OneLineAndAnExitCodeOfItsOwn) {
  EXPECT_EXIT(CheckCuda(cudaErrorIllegalAddress, "file.cc", 7),
              ::testing::ExitedWithCode(kLostDeviceExitCode),
              "^weft: the GPU stopped working: an illegal memory access.*file.cc:7.*\n$");
  EXPECT_EXIT(CheckCuda(cudaErrorMemoryAllocation, "file.cc", 7),
              ::testing::ExitedWithCode(kLostDeviceExitCode),
              "^weft: the GPU has no memory left.*--mem-fraction-static.*\n$");
  CheckCuda(cudaSuccess, "file.cc", 7);
}

}  // namespace
}  // namespace weft::device::cuda
