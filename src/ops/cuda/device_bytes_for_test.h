#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace weft::ops::cuda {

/// Memory of the device, freed with it.
class DeviceBytes {
 public:
  explicit DeviceBytes(int64_t bytes) : bytes_(bytes) {
    WEFT_CHECK(cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(bytes, 16))) ==
               cudaSuccess);
  }
  ~DeviceBytes() { (void)cudaFree(data_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t bytes() const { return bytes_; }
  /// All bits set: NaN in bf16 and float, -1 in int32.
  void Poison() const {
    WEFT_CHECK(cudaMemset(data_, 0xff, static_cast<size_t>(bytes_)) == cudaSuccess);
  }
  template <typename T>
  void Put(const std::vector<T>& values) const {
    WEFT_CHECK(static_cast<int64_t>(values.size() * sizeof(T)) <= bytes_);
    WEFT_CHECK(cudaMemcpy(data_, values.data(), values.size() * sizeof(T),
                          cudaMemcpyHostToDevice) == cudaSuccess);
  }
  template <typename T>
  std::vector<T> Get(size_t count) const {
    std::vector<T> values(count);
    WEFT_CHECK(cudaMemcpy(values.data(), data_, count * sizeof(T), cudaMemcpyDeviceToHost) ==
               cudaSuccess);
    return values;
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_;
};

/// Memory of the host that the device reads in place.
class PinnedBytes {
 public:
  explicit PinnedBytes(int64_t bytes) {
    WEFT_CHECK(cudaMallocHost(&data_, static_cast<size_t>(bytes)) == cudaSuccess);
    std::memset(data_, 0xff, static_cast<size_t>(bytes));
  }
  ~PinnedBytes() { (void)cudaFreeHost(data_); }
  PinnedBytes(const PinnedBytes&) = delete;
  PinnedBytes& operator=(const PinnedBytes&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

}  // namespace weft::ops::cuda
