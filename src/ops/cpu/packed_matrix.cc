#include "ops/cpu/packed_matrix.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ops/cpu/panel_packing.h"

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
  std::vector<BFloat16> narrow(
      static_cast<size_t>(dtype_ == DType::kFloat32 ? 0 : kPanelColumns * in_));
  // A panel at a time, in the order it lies in memory.
  for (int32_t row = 0; row < count; row += kPanelColumns) {
    const int32_t lanes = std::min(kPanelColumns, count - row);
    const float* from = values.data() + int64_t{row} * in_;
    if (dtype_ == DType::kFloat32) {
      InterleaveWords(std::as_bytes(std::span(from, 1)).data(), int64_t{4} * in_, lanes,
                      kPanelColumns, in_, PanelOf(first + row));
    } else {
      NarrowToBFloat16(from, int64_t{lanes} * in_, narrow.data());
      InterleaveWords(std::as_bytes(std::span(narrow)).data(), int64_t{2} * in_, lanes,
                      kPanelColumns, in_ / 2, PanelOf(first + row));
    }
  }
}

void PackedMatrix::SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) {
  if (dtype_ == DType::kFloat32) return Matrix::SetBFloat16Rows(first, count, values);
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  for (int32_t row = 0; row < count; row += kPanelColumns) {
    const auto from = std::as_bytes(values.subspan(static_cast<size_t>(int64_t{row} * in_)));
    InterleaveWords(from.data(), int64_t{2} * in_, std::min(kPanelColumns, count - row),
                    kPanelColumns, in_ / 2, PanelOf(first + row));
  }
}

}  // namespace weft::ops::cpu
