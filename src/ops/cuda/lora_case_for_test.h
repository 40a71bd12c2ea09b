#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/lora_step.h"

namespace weft::ops::cuda {

inline void MustSucceed(cudaError_t error) {
  ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
}

/// Device memory, filled with NaN (every byte 0xFF) when made.
template <typename T>
class PoisonedBuffer {
 public:
  explicit PoisonedBuffer(size_t count) : bytes_(count * sizeof(T)) {
    MustSucceed(cudaMalloc(&data_, bytes_ + 1));
    MustSucceed(cudaMemset(data_, 0xFF, bytes_));
  }
  ~PoisonedBuffer() { cudaFree(data_); }
  PoisonedBuffer(const PoisonedBuffer&) = delete;
  PoisonedBuffer& operator=(const PoisonedBuffer&) = delete;
  T* data() const { return static_cast<T*>(data_); }
  void Set(std::span<const T> values) {
    MustSucceed(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
  }
  std::vector<T> Get() const {
    std::vector<T> values(bytes_ / sizeof(T));
    MustSucceed(cudaMemcpy(values.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

/// The matrices of one adapter's module.
struct TestModule {
  int rank = 0;
  float scaling = 0.0F;
  std::vector<float> a;  ///< [rank, in], bf16 values.
  std::vector<float> b;  ///< [out, rank]
};

/// An adapter with random weights on the device, laid out as in pages: each tile somewhere, between
/// NaN.
class TestAdapter {
 public:
  /// `ranks` [layer][projection].
  TestAdapter(const LoraShape& shape, std::span<const int> ranks, uint32_t seed) : random_(seed) {
    std::vector<__nv_bfloat16> pool;
    std::vector<std::vector<size_t>> where(ranks.size());
    for (size_t i = 0; i < ranks.size(); ++i) {
      const int in = shape.in[i % kLoraProjections];
      const int out = shape.out[i % kLoraProjections];
      modules_.push_back(MakeModule(in, out, ranks[i]));
      PackModule(modules_.back(), in, out, pool, where[i]);
    }
    pool_ = std::make_unique<PoisonedBuffer<__nv_bfloat16>>(pool.size());
    pool_->Set(pool);
    PointTo(where);
    std::vector<std::byte> table(static_cast<size_t>(LoraTableBytes(table_)));
    WriteLoraTable(table_, table);
    device_table_ = std::make_unique<PoisonedBuffer<std::byte>>(table.size());
    device_table_->Set(table);
    resident_ = DescribeLora(table_, reinterpret_cast<uint64_t>(device_table_->data()));
  }

  const ResidentLora* resident() const { return &resident_; }
  const TestModule& Module(int layer, int projection) const {
    return modules_[static_cast<size_t>(layer * kLoraProjections + projection)];
  }

 private:
  TestModule MakeModule(int in, int out, int rank) {
    std::normal_distribution<float> normal;
    TestModule made;
    made.rank = rank;
    made.scaling = 0.25F + static_cast<float>(random_() % 8) * 0.3F;
    const auto draw = [&](std::vector<float>& into, int count) {
      into.resize(static_cast<size_t>(count));
      for (float& value : into) value = __bfloat162float(__float2bfloat16(normal(random_)));
    };
    draw(made.a, rank * in);
    draw(made.b, rank * out);
    return made;
  }

  size_t Reserve(std::vector<__nv_bfloat16>& pool, int elements) {
    const size_t at = pool.size() + 8 * (1 + random_() % 4);
    pool.resize(at, __float2bfloat16(NAN));
    pool.resize(at + static_cast<size_t>(elements), __float2bfloat16(0.0F));
    return at;
  }

  void PackModule(const TestModule& from, int in, int out, std::vector<__nv_bfloat16>& pool,
                  std::vector<size_t>& where) {
    int first = 0;
    for (const int32_t width : RankTileWidths(from.rank)) {
      const size_t a = Reserve(pool, width * in);
      const size_t b = Reserve(pool, width * out);
      for (int r = 0; r < width && first + r < from.rank; ++r) {
        for (int k = 0; k < in; ++k)
          pool[a + static_cast<size_t>(r * in + k)] =
              __float2bfloat16(from.a[static_cast<size_t>((first + r) * in + k)]);
        for (int o = 0; o < out; ++o)
          pool[b + static_cast<size_t>(o * width + r)] =
              __float2bfloat16(from.b[static_cast<size_t>(o * from.rank + first + r)]);
      }
      where.insert(where.end(), {a, b, static_cast<size_t>(width)});
      first += width;
    }
    pool.resize((pool.size() + 63) / 8 * 8, __float2bfloat16(NAN));
  }

  void PointTo(const std::vector<std::vector<size_t>>& where) {
    size_t tiles = 0;
    for (const auto& each : where) tiles += each.size() / 3;
    table_.tiles.reserve(tiles);
    const auto* pool = reinterpret_cast<const std::byte*>(pool_->data());
    for (size_t i = 0; i < where.size(); ++i) {
      const size_t first = table_.tiles.size();
      for (size_t t = 0; t < where[i].size(); t += 3)
        table_.tiles.push_back({pool + where[i][t] * 2, pool + where[i][t + 1] * 2,
                                static_cast<int32_t>(where[i][t + 2])});
      table_.modules.push_back(
          {std::span<const LoraTile>(table_.tiles.data() + first, where[i].size() / 3),
           modules_[i].scaling});
    }
  }

  std::mt19937 random_;
  std::vector<TestModule> modules_;
  AdapterTable table_;
  std::unique_ptr<PoisonedBuffer<__nv_bfloat16>> pool_;
  std::unique_ptr<PoisonedBuffer<std::byte>> device_table_;
  ResidentLora resident_;
};

}  // namespace weft::ops::cuda
