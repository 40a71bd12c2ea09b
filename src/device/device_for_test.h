#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "device/device.h"

// For tests: the device that they run on, by the environment: WEFT_TEST_DEVICE=cuda, or the CPU.
namespace weft::device {

inline bool TestsRunOnCuda() {
  const char* name = std::getenv("WEFT_TEST_DEVICE");
  return name != nullptr && std::string_view(name) == "cuda";
}

inline std::unique_ptr<Device> CreateDeviceForTest() {
  if (!TestsRunOnCuda()) return CreateCpuDevice();
  auto created = CreateCudaDevice();
  if (!created.ok()) std::fprintf(stderr, "%s\n", created.error().message.c_str());
  return std::move(created).value();
}

}  // namespace weft::device
