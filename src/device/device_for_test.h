#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "device/device.h"

// For tests: the device that they run on, by the environment: WEFT_TEST_DEVICE=cuda, or the CPU.
// Another value, or no GPU where one is asked for, ends the test program: it never passes on the
// other device.
namespace weft::device {

inline bool TestsRunOnCuda() {
  const char* value = std::getenv("WEFT_TEST_DEVICE");
  const std::string_view name = value == nullptr ? "cpu" : value;
  if (name != "cpu" && name != "cuda")
    std::fprintf(stderr, "WEFT_TEST_DEVICE is '%s'; it may be cpu or cuda\n", value);
  WEFT_CHECK(name == "cpu" || name == "cuda");
  return name == "cuda";
}

inline std::unique_ptr<Device> CreateDeviceForTest() {
  if (!TestsRunOnCuda()) return CreateCpuDevice();
  auto created = CreateCudaDevice();
  if (!created.ok())
    std::fprintf(stderr, "WEFT_TEST_DEVICE=cuda: %s\n", created.error().message.c_str());
  return std::move(created).value();
}

/// So many poisoned bytes in the device's memory.
inline Buffer AllocatePoisoned(Device& device, Bytes bytes) {
  Buffer buffer = std::move(device.AllocateDevice(bytes)).value();
  const auto stream = device.CreateStream(StreamPriority::kCopy, "poison");
  stream->Fill(buffer.data(), kPoison, bytes);
  stream->Synchronize();
  return buffer;
}

/// A copy in the host's memory of what lies on the device.
inline Buffer ReadBack(Device& device, const Buffer& buffer) {
  Buffer host = std::move(device.AllocateHost(buffer.size())).value();
  const auto stream = device.CreateStream(StreamPriority::kCopy, "read-back");
  stream->Copy(host.data(), buffer.data(), buffer.size());
  stream->Synchronize();
  return host;
}

}  // namespace weft::device
