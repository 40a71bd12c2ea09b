#pragma once

#include "ops/cpu/kernels.h"
#include "ops/cpu/weight_memory.h"
#include "ops/operators.h"

namespace weft::ops::cpu {

/// A weight [out, in] in panels of sixteen rows of it: [out / 16][in / pair][16][pair], zero where
/// the last panel has no row.
class PackedMatrix final : public Matrix {
 public:
  static Result<std::unique_ptr<Matrix>> Create(WeightMemory& memory, DType dtype, int32_t out,
                                                int32_t in);

  Bytes bytes() const override { return panels() * panel_stride() * SizeOf(dtype_); }
  void SetRows(int32_t first, int32_t count, std::span<const float> values) override;
  void SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) override;

  int32_t out() const { return out_; }
  int32_t in() const { return in_; }
  int32_t panels() const { return (out_ + kPanelColumns - 1) / kPanelColumns; }
  /// Elements from one panel to the next.
  int64_t panel_stride() const { return int64_t{kPanelColumns} * in_; }
  const std::byte* Panel(int32_t panel) const {
    return memory_.data + panel * panel_stride() * SizeOf(dtype_);
  }

 private:
  std::byte* PanelOf(int32_t row) const {
    return memory_.data + row / kPanelColumns * panel_stride() * SizeOf(dtype_);
  }

  PackedMatrix(DType dtype, int32_t out, int32_t in, WeightPiece memory)
      : dtype_(dtype), out_(out), in_(in), memory_(std::move(memory)) {}

  const DType dtype_;
  const int32_t out_;
  const int32_t in_;
  const WeightPiece memory_;
};

}  // namespace weft::ops::cpu
