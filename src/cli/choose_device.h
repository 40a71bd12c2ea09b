#pragma once

#include <memory>

#include "base/result.h"
#include "cli/serve_options.h"
#include "device/device.h"

namespace weft::cli {

/// The device that --device names. auto: a GPU where there is one that can be used with the other
/// flags, else the CPU; why not the GPU is logged. Blocks while the GPU starts.
Result<std::unique_ptr<device::Device>> ChooseDevice(const ServeOptions& options);

}  // namespace weft::cli
