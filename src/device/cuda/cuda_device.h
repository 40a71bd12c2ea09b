#pragma once

#include <memory>

#include "base/result.h"
#include "device/cuda/cuda_stream.h"
#include "device/device.h"

namespace weft::device::cuda {

/// CreateCudaDevice of device.h, inside the library. `assert_may_block` is the program's.
Result<std::unique_ptr<Device>> CreateDevice(AssertMayBlockFunction assert_may_block);

}  // namespace weft::device::cuda
