#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "base/result.h"

namespace weft::device::cuda {

/// The error of a CUDA call that may fail for reasons outside the program; `what` says what was
/// being done, for people.
Status ToStatus(cudaError_t error, std::string_view what);

/// For calls in mid-run: after an error there the GPU's context is lost and nothing of it can be
/// saved, or the memory that CUDA itself needs is not there. Says which in one line and ends the
/// process with kLostDeviceExitCode, from whatever thread, running no destructors (they would wait
/// for the GPU).
void CheckCuda(cudaError_t error, const char* file, int line);
[[noreturn]] void LoseDevice(const char* message, const char* file, int line);

inline constexpr int kLostDeviceExitCode = 70;

}  // namespace weft::device::cuda

#define WEFT_CUDA_CHECK(call) ::weft::device::cuda::CheckCuda((call), __FILE__, __LINE__)
