#include "cli/choose_device.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace weft::cli {

Result<std::unique_ptr<device::Device>> ChooseDevice(const ServeOptions& options) {
  if (options.device == "cuda") {
    auto device = device::CreateCudaDevice();
    if (!device.ok()) return device.error().WithContext("--device cuda");
    return device;
  }
  if (options.device == "auto" && options.dtype != "float32") {
    auto device = device::CreateCudaDevice();
    if (device.ok()) return device;
    spdlog::debug("computing on the CPU: {}", device.error().message);
  }
  return device::CreateCpuDevice();
}

}  // namespace weft::cli
