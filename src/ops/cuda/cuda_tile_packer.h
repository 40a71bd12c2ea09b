#pragma once

#include "ops/lora.h"

namespace weft::ops::cuda {

/// Tiles lie row-major: A as [width, in], B as [out, width]. A row of B is 16 or 32 bytes in bf16:
/// kernels take each in one or two loads.
class CudaTilePacker final : public TilePacker {
 public:
  explicit CudaTilePacker(DType dtype) : dtype_(dtype) {}
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

}  // namespace weft::ops::cuda
