#include "device/cuda/cuda_error.h"

#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <string>

namespace weft::device::cuda {

namespace {

/// The first thread that comes here says why; others, which meet the same, only wait for the end.
[[noreturn]] void End(const std::string& why) {
  static std::mutex one_line;
  one_line.lock();
  std::fprintf(stderr, "weft: %s\n", why.c_str());
  std::fflush(stderr);
  _exit(kLostDeviceExitCode);
}

}  // namespace

Status ToStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return OkStatus();
  const ErrorCode code =
      error == cudaErrorMemoryAllocation ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
  return MakeError(code, "{}: CUDA says '{}' ({})", what, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

void CheckCuda(cudaError_t error, const char* file, int line) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation)
    End(
        fmt::format("the GPU has no memory left for what CUDA itself needs ({}:{}); give the pool "
                    "less (--mem-fraction-static), or see what else uses the GPU",
                    file, line));
  LoseDevice(cudaGetErrorString(error), file, line);
}

void LoseDevice(const char* message, const char* file, int line) {
  End(
      fmt::format("the GPU stopped working: {} ({}:{}); see dmesg for Xid messages, then start "
                  "weft again",
                  message, file, line));
}

}  // namespace weft::device::cuda
