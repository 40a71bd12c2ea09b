#include "device/cuda/driver_check.h"

#include <string>

#include "device/cuda/cuda_error.h"

namespace weft::device::cuda {
namespace {

/// The first version that runs what this library was built with.
constexpr int kOldestDriver = CUDART_VERSION / 1000 * 1000;

std::string VersionText(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

DriverState AskDriver() {
  DriverState state;
  cudaDriverGetVersion(&state.driver);
  if (state.driver >= kOldestDriver) state.count_error = cudaGetDeviceCount(&state.count);
  return state;
}

Status CheckDriver(const DriverState& state) {
  if (state.driver == 0)
    return MakeError(ErrorCode::kUnavailable,
                     "no NVIDIA driver on this machine (libcuda.so.1 cannot be loaded); install "
                     "driver 580 or newer, or use --device cpu");
  if (state.driver < kOldestDriver)
    return MakeError(ErrorCode::kUnsupported,
                     "the NVIDIA driver is too old: it offers CUDA {}, Weft needs {} (driver 580 "
                     "or newer); update it, or use --device cpu",
                     VersionText(state.driver), VersionText(kOldestDriver));
  if (state.count_error == cudaErrorNoDevice ||
      (state.count_error == cudaSuccess && state.count == 0))
    return MakeError(ErrorCode::kUnavailable,
                     "no GPU on this machine, or CUDA_VISIBLE_DEVICES hides all; use --device cpu");
  return ToStatus(state.count_error, "looking for a GPU");
}

}  // namespace weft::device::cuda
