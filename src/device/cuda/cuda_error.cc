#include "device/cuda/cuda_error.h"

#include <unistd.h>

#include <cstdio>

namespace weft::device::cuda {

Status ToStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return OkStatus();
  const ErrorCode code =
      error == cudaErrorMemoryAllocation ? ErrorCode::kResourceExhausted : ErrorCode::kInternal;
  return MakeError(code, "{}: CUDA says '{}' ({})", what, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

void CheckCuda(cudaError_t error, const char* file, int line) {
  if (error != cudaSuccess) LoseDevice(cudaGetErrorString(error), file, line);
}

void LoseDevice(const char* message, const char* file, int line) {
  std::fprintf(stderr,
               "weft: the GPU stopped working: %s (%s:%d); see dmesg for Xid messages, then start "
               "weft again\n",
               message, file, line);
  std::fflush(stderr);
  _exit(kLostDeviceExitCode);
}

}  // namespace weft::device::cuda
