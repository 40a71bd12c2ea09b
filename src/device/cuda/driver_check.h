#pragma once

#include <cuda_runtime_api.h>

#include "base/result.h"

namespace weft::device::cuda {

/// What CUDA says of this machine before anything is done with it.
struct DriverState {
  int driver = 0;  ///< Its CUDA version, as cudaDriverGetVersion has it; 0: there is no driver.
  cudaError_t count_error = cudaSuccess;  ///< Of counting the GPUs.
  int count = 0;
};

/// Counts GPUs only where the driver is new enough to ask.
DriverState AskDriver();

/// Why there is no GPU to use, in the order in which a person would look; each says what to do.
Status CheckDriver(const DriverState& state);

}  // namespace weft::device::cuda
