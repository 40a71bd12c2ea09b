#include "ops/cpu/packed_matrix.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ops/cpu/elements.h"

namespace weft::ops::cpu {

Result<std::unique_ptr<Matrix>> PackedMatrix::Create(WeightMemory& memory, DType dtype, int32_t out,
                                                     int32_t in) {
  WEFT_CHECK(out > 0 && in > 0 && in % PairOf(dtype) == 0);
  const int64_t rows = (int64_t{out} + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  WEFT_ASSIGN_OR_RETURN(WeightPiece piece, memory.Take(rows * in * SizeOf(dtype)));
  return std::unique_ptr<Matrix>(new PackedMatrix(dtype, out, in, std::move(piece)));
}

void PackedMatrix::SetRows(int32_t first, int32_t count, std::span<const float> values) {
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  const int64_t pair = PairOf(dtype_);
  // A panel at a time, in the order it lies in memory.
  for (int32_t row = 0; row < count; row += kPanelColumns) {
    std::byte* panel =
        memory_.data + (first + row) / kPanelColumns * panel_stride() * SizeOf(dtype_);
    const int64_t lanes = std::min(kPanelColumns, count - row);
    const float* from = values.data() + int64_t{row} * in_;
    for (int64_t k = 0; k < in_; k += pair)
      for (int64_t lane = 0; lane < lanes; ++lane)
        for (int64_t i = 0; i < pair; ++i)
          StoreElement(dtype_, panel, k * kPanelColumns + lane * pair + i,
                       from[lane * in_ + k + i]);
  }
}

}  // namespace weft::ops::cpu
