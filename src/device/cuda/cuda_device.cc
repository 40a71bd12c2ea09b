#include "device/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "device/cpu/cpu_memory.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cuda_stream.h"
#include "device/cuda/driver_check.h"
#include "device/device.h"

namespace weft::device::cuda {
namespace {

constexpr int kOldestMajor = 8;  ///< Compute capability: Ampere, the first with bf16.

void ReleaseDevice(std::byte* data, Bytes) { cudaFree(data); }
void ReleaseHost(std::byte* data, Bytes) { cudaFreeHost(data); }

class CudaDevice final : public Device {
 public:
  CudaDevice(const cudaDeviceProp& properties, AssertMayBlockFunction assert_may_block)
      : assert_may_block_(assert_may_block),
        name_(fmt::format("cuda: {}, {}", properties.name,
                          FormatBytes(static_cast<Bytes>(properties.totalGlobalMem)))) {
    WEFT_CUDA_CHECK(cudaStreamCreateWithFlags(&setup_stream_, cudaStreamNonBlocking));
  }
  ~CudaDevice() override { cudaStreamDestroy(setup_stream_); }

  DeviceKind kind() const override { return DeviceKind::kCuda; }
  std::string name() const override { return name_; }

  Result<Buffer> AllocateDevice(Bytes bytes) override {
    assert_may_block_("Device::AllocateDevice");
    if (bytes == 0) return Buffer();
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return MakeError(ErrorCode::kResourceExhausted,
                       "{} of GPU memory wanted, but only {} is free; ask for a smaller pool or "
                       "model",
                       FormatBytes(bytes), FormatBytes(free_memory()));
    }
    WEFT_RETURN_IF_ERROR(ToStatus(error, "allocating GPU memory"));
    Buffer buffer(static_cast<std::byte*>(data), bytes, ReleaseDevice);
    // Not on the default stream, nor by waiting for the whole device: either would spoil what
    // another thread records as a graph.
    WEFT_RETURN_IF_ERROR(ToStatus(
        cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), setup_stream_), "clearing memory"));
    WEFT_RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(setup_stream_), "clearing GPU memory"));
    return buffer;
  }

  Result<Buffer> AllocateHost(Bytes bytes) override {
    assert_may_block_("Device::AllocateHost");
    if (bytes == 0) return Buffer();
    if (bytes > free_host_memory())
      return MakeError(ErrorCode::kResourceExhausted,
                       "{} of pinned memory wanted, but only {} is free; ask for less",
                       FormatBytes(bytes), FormatBytes(free_host_memory()));
    void* data = nullptr;
    const cudaError_t error = cudaHostAlloc(&data, static_cast<size_t>(bytes),
                                            cudaHostAllocMapped | cudaHostAllocPortable);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return MakeError(ErrorCode::kResourceExhausted,
                       "the system refused to pin {} of memory; ask for less, or raise ulimit -l",
                       FormatBytes(bytes));
    }
    WEFT_RETURN_IF_ERROR(ToStatus(error, "pinning memory"));
    std::memset(data, 0, static_cast<size_t>(bytes));
    return Buffer(static_cast<std::byte*>(data), bytes, ReleaseHost);
  }

  std::unique_ptr<Stream> CreateStream(StreamPriority priority, std::string_view name) override {
    return std::make_unique<CudaStream>(priority, name, assert_may_block_);
  }
  std::unique_ptr<Event> CreateEvent() override {
    return std::make_unique<CudaEvent>(assert_may_block_);
  }

  Bytes total_memory() const override { return Memory().second; }
  Bytes free_memory() const override { return Memory().first; }
  Bytes total_host_memory() const override { return TotalMemory(); }
  Bytes free_host_memory() const override { return FreeMemory(); }

 private:
  /// Free, total.
  static std::pair<Bytes, Bytes> Memory() {
    size_t free = 0;
    size_t total = 0;
    WEFT_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return {static_cast<Bytes>(free), static_cast<Bytes>(total)};
  }

  const AssertMayBlockFunction assert_may_block_;
  const std::string name_;
  cudaStream_t setup_stream_ = nullptr;  ///< For what allocation does on the GPU.
};

}  // namespace

Result<std::unique_ptr<Device>> CreateDevice(AssertMayBlockFunction assert_may_block) {
  WEFT_RETURN_IF_ERROR(CheckDriver(AskDriver()));
  cudaDeviceProp properties = {};
  WEFT_RETURN_IF_ERROR(ToStatus(cudaGetDeviceProperties(&properties, 0), "asking the GPU"));
  if (properties.major < kOldestMajor)
    return MakeError(ErrorCode::kUnsupported,
                     "{} has compute capability {}.{}; Weft needs {}.0 or newer (Ampere); use "
                     "--device cpu",
                     properties.name, properties.major, properties.minor, kOldestMajor);
  WEFT_RETURN_IF_ERROR(ToStatus(cudaInitDevice(0, 0, 0), "starting the GPU"));
  return std::unique_ptr<Device>(std::make_unique<CudaDevice>(properties, assert_may_block));
}

}  // namespace weft::device::cuda
