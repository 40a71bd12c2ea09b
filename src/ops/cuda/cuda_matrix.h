#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device/device.h"
#include "ops/operators.h"

namespace weft::ops::cuda {

/// Where weights lie on the GPU, one after the other in the order in which they were created: the
/// projections of one input become one matrix. Also lends pinned buffers to the threads that fill
/// weights. Owned by the operators; any thread may call.
class WeightArena {
 public:
  /// Room for `bytes` of weights at once; what is beyond gets memory of its own.
  static Result<std::unique_ptr<WeightArena>> Create(device::Device& device, Bytes bytes);
  ~WeightArena();

  /// Memory that lives as long as this.
  Result<std::byte*> Allocate(Bytes bytes);
  /// Copies values to elements of `dtype` on the GPU. Returns when they are there.
  void Store(std::span<const float> values, DType dtype, std::byte* to);
  void Store(std::span<const BFloat16> values, DType dtype, std::byte* to);
  /// All of it, but what has memory of its own.
  std::span<const std::byte> bytes() const {
    return {memory_.data(), static_cast<size_t>(memory_.size())};
  }
  /// Waits for Store's copies and gives back the pinned buffers: no weight is set any more.
  void FinishLoading();

 private:
  /// A thread's: pinned memory and a stream to copy from it.
  struct Lane {
    device::Buffer pinned;
    cudaStream_t stream = nullptr;
  };

  WeightArena(device::Device& device, device::Buffer memory)
      : device_(device), memory_(std::move(memory)) {}
  template <typename Value>
  void StoreValues(std::span<const Value> values, DType dtype, std::byte* to);
  Lane TakeLane();
  void ReturnLane(Lane lane);

  device::Device& device_;
  device::Buffer memory_;
  std::mutex mutex_;
  Bytes used_ = 0;
  std::vector<device::Buffer> more_;
  std::vector<Lane> lanes_;
};

/// A weight [out, in], row-major.
class CudaMatrix final : public Matrix {
 public:
  static Result<std::unique_ptr<Matrix>> Create(WeightArena& arena, DType dtype, int32_t out,
                                                int32_t in);

  Bytes bytes() const override { return Bytes{out_} * in_ * SizeOf(dtype_); }
  void SetRows(int32_t first, int32_t count, std::span<const float> values) override;
  void SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) override;

  int32_t out() const { return out_; }
  int32_t in() const { return in_; }
  const std::byte* data() const { return data_; }

 private:
  CudaMatrix(WeightArena& arena, DType dtype, int32_t out, int32_t in, std::byte* data)
      : arena_(arena), dtype_(dtype), out_(out), in_(in), data_(data) {}

  WeightArena& arena_;
  const DType dtype_;
  const int32_t out_;
  const int32_t in_;
  std::byte* const data_;
};

/// The vectors of a model (norms, biases) on the GPU, by their address on the host: copied when
/// first asked for. Owned by the operators, used by their thread.
class DeviceVectors {
 public:
  explicit DeviceVectors(device::Device& device) : device_(device) {}

  /// The copy of `values`, which must stay where and as they are; null when empty. Waits for
  /// `stream` when it copies: not while a graph is recorded.
  const float* Get(std::span<const float> values, cudaStream_t stream);

 private:
  struct Copy {
    const float* host = nullptr;
    device::Buffer memory;
  };

  device::Device& device_;
  std::vector<Copy> copies_;  ///< Sorted by host address.
};

}  // namespace weft::ops::cuda
