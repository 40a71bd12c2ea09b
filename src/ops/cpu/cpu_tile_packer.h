#pragma once

#include "ops/lora.h"

namespace weft::ops::cpu {

/// A tile of A lies as [in / pair][width][pair], one of B as [out / 16][width / pair][16][pair]:
/// what kernels.h calls panels. `out` is a multiple of 16, `in` of 2: CreateOperators checked.
class CpuTilePacker final : public TilePacker {
 public:
  explicit CpuTilePacker(DType dtype) : dtype_(dtype) {}
  DType dtype() const override { return dtype_; }
  void PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
             std::byte* tile) const override;
  void PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns, int32_t width,
             int32_t out, std::byte* tile) const override;
  void PackBFloat16A(std::span<const BFloat16> a, int32_t rows, int32_t width, int32_t in,
                     std::byte* tile) const override;
  void PackBFloat16B(std::span<const BFloat16> b, int32_t rank, int32_t first, int32_t columns,
                     int32_t width, int32_t out, std::byte* tile) const override;

 private:
  const DType dtype_;
};

}  // namespace weft::ops::cpu
