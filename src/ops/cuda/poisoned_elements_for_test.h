#pragma once

#include <cuda_runtime_api.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/bfloat16.h"
#include "base/check.h"
#include "base/dtype.h"

// For tests of kernels: elements of either type on the GPU.
namespace weft::ops::cuda {

/// `value` as an element of `dtype` holds it.
inline float Rounded(DType dtype, float value) {
  return dtype == DType::kFloat32 ? value : ToFloat(ToBFloat16(value));
}

/// Numbers around zero that elements of `dtype` hold exactly.
inline std::vector<float> RandomElements(size_t count, float deviation, DType dtype,
                                         uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = Rounded(dtype, normal(generator));
  return values;
}

/// Elements in the GPU's memory, NaN until set.
class PoisonedElements {
 public:
  PoisonedElements(DType dtype, size_t count) : dtype_(dtype), count_(count) {
    WEFT_CHECK(cudaMalloc(&data_, bytes()) == cudaSuccess);
    WEFT_CHECK(cudaMemset(data_, 0xFF, bytes()) == cudaSuccess);
  }
  PoisonedElements(DType dtype, const std::vector<float>& values)
      : PoisonedElements(dtype, values.size()) {
    std::vector<std::byte> stored(bytes());
    for (size_t i = 0; i < values.size(); ++i) {
      const BFloat16 narrow = ToBFloat16(values[i]);
      if (dtype == DType::kFloat32) {
        std::memcpy(&stored[i * 4], &values[i], 4);
      } else {
        std::memcpy(&stored[i * 2], &narrow, 2);
      }
    }
    WEFT_CHECK(cudaMemcpy(data_, stored.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~PoisonedElements() { cudaFree(data_); }
  PoisonedElements(const PoisonedElements&) = delete;
  PoisonedElements& operator=(const PoisonedElements&) = delete;

  template <typename T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }
  /// Waits for the GPU.
  std::vector<float> Get() const {
    std::vector<std::byte> stored(bytes());
    WEFT_CHECK(cudaMemcpy(stored.data(), data_, bytes(), cudaMemcpyDeviceToHost) == cudaSuccess);
    std::vector<float> values(count_);
    for (size_t i = 0; i < count_; ++i) {
      BFloat16 narrow;
      if (dtype_ == DType::kFloat32) {
        std::memcpy(&values[i], &stored[i * 4], 4);
      } else {
        std::memcpy(&narrow, &stored[i * 2], 2);
        values[i] = ToFloat(narrow);
      }
    }
    return values;
  }

 private:
  size_t bytes() const { return count_ * static_cast<size_t>(SizeOf(dtype_)); }

  const DType dtype_;
  const size_t count_;
  void* data_ = nullptr;
};

/// int32 in the GPU's memory.
class DeviceInts {
 public:
  explicit DeviceInts(const std::vector<int32_t>& values) {
    const size_t bytes = values.size() * sizeof(int32_t);
    WEFT_CHECK(cudaMalloc(&data_, bytes) == cudaSuccess);
    WEFT_CHECK(cudaMemcpy(data_, values.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceInts() { cudaFree(data_); }
  DeviceInts(const DeviceInts&) = delete;
  DeviceInts& operator=(const DeviceInts&) = delete;
  const int32_t* data() const { return static_cast<const int32_t*>(data_); }

 private:
  void* data_ = nullptr;
};

}  // namespace weft::ops::cuda
