#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/thread_role.h"
#include "device/cpu/cpu_memory.h"
#include "device/cpu/cpu_stream.h"
#include "device/device.h"

namespace weft::device {
namespace {

class CpuDevice final : public Device {
 public:
  DeviceKind kind() const override { return DeviceKind::kCpu; }
  std::string name() const override {
    return fmt::format("cpu: {} processors, {}", std::thread::hardware_concurrency(),
                       FormatBytes(TotalMemory()));
  }
  Result<Buffer> AllocateDevice(Bytes bytes) override {
    AssertMayBlock("Device::AllocateDevice");
    return AllocateMemory(bytes);
  }
  Result<Buffer> AllocateHost(Bytes bytes) override {
    AssertMayBlock("Device::AllocateHost");
    return AllocateMemory(bytes);
  }
  Result<Buffer> ReserveDevice(Bytes bytes) override {
    AssertMayBlock("Device::ReserveDevice");
    return ReserveMemory(bytes);
  }
  Result<Buffer> ReserveHost(Bytes bytes) override {
    AssertMayBlock("Device::ReserveHost");
    return ReserveMemory(bytes);
  }
  /// Priorities are the GPU's: here the system shares the processors fairly.
  std::unique_ptr<Stream> CreateStream(StreamPriority, std::string_view name) override {
    return std::make_unique<CpuStream>(name);
  }
  std::unique_ptr<Event> CreateEvent() override { return std::make_unique<CpuEvent>(); }
  Bytes total_memory() const override { return TotalMemory(); }
  Bytes free_memory() const override { return FreeMemory(); }
  Bytes total_host_memory() const override { return TotalMemory(); }
  Bytes free_host_memory() const override { return FreeMemory(); }
};

}  // namespace

std::unique_ptr<Device> CreateCpuDevice() { return std::make_unique<CpuDevice>(); }

}  // namespace weft::device
