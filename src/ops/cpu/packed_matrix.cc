#include "ops/cpu/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ops/cpu/coded_panel.h"
#include "ops/cpu/panel_packing.h"

namespace weft::ops::cpu {

Result<std::unique_ptr<Matrix>> PackedMatrix::Create(WeightMemory& memory, const Kernels& kernels,
                                                     DType dtype, int32_t out, int32_t in) {
  WEFT_CHECK(out > 0 && in > 0 && in % kPanelColumns == 0 && in < kMostCodedDepth);
  WEFT_ASSIGN_OR_RETURN(WeightPiece piece, memory.Take(BytesOf(kernels, out, in)));
  return std::unique_ptr<Matrix>(new PackedMatrix(kernels, dtype, out, in, std::move(piece)));
}

Bytes PackedMatrix::BytesOf(const Kernels& kernels, int32_t out, int32_t in) {
  return PanelsOf(out) * kernels.panel_bytes(in);
}

Bytes PackedMatrix::bytes() const {
  const std::lock_guard lock(mutex_);
  return BytesOf(kernels_, out_, in_) +
         std::ssize(plain_panels_) * in_ * kPanelColumns * SizeOf(dtype_);
}

void PackedMatrix::SetRows(int32_t first, int32_t count, std::span<const float> values) {
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  std::vector<std::byte> plain;
  std::vector<BFloat16> narrow(
      static_cast<size_t>(dtype_ == DType::kFloat32 ? 0 : kPanelColumns * in_));
  // A panel at a time, in the order it lies in memory.
  for (int32_t row = 0; row < count; row += kPanelColumns) {
    const int32_t lanes = std::min(kPanelColumns, count - row);
    const float* from = values.data() + int64_t{row} * in_;
    if (dtype_ == DType::kFloat32) {
      SetPanel((first + row) / kPanelColumns, std::as_bytes(std::span(from, 1)).data(), lanes,
               plain);
    } else {
      NarrowToBFloat16(from, int64_t{lanes} * in_, narrow.data());
      SetPanel((first + row) / kPanelColumns, std::as_bytes(std::span(narrow)).data(), lanes,
               plain);
    }
  }
}

void PackedMatrix::SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) {
  if (dtype_ == DType::kFloat32) return Matrix::SetBFloat16Rows(first, count, values);
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  std::vector<std::byte> plain;
  for (int32_t row = 0; row < count; row += kPanelColumns) {
    const auto from = std::as_bytes(values.subspan(static_cast<size_t>(int64_t{row} * in_)));
    SetPanel((first + row) / kPanelColumns, from.data(), std::min(kPanelColumns, count - row),
             plain);
  }
}

void PackedMatrix::SetPanel(int32_t panel, const std::byte* rows, int32_t lanes,
                            std::vector<std::byte>& plain) {
  constexpr Bytes kWord = 4;
  const Bytes row_bytes = in_ * SizeOf(dtype_);
  std::byte* to = memory_.data + panel * panel_bytes_;
  if (kernels_.code_panel == nullptr)
    return InterleaveWords(rows, row_bytes, lanes, kPanelColumns, row_bytes / kWord, to);
  plain.resize(static_cast<size_t>(kPanelColumns * row_bytes));
  InterleaveWords(rows, row_bytes, lanes, kPanelColumns, row_bytes / kWord, plain.data());
  if (!kernels_.code_panel(plain.data(), in_, to)) KeepPlain(to, plain);
}

void PackedMatrix::KeepPlain(std::byte* panel, const std::vector<std::byte>& plain) {
  const std::lock_guard lock(mutex_);
  plain_panels_.push_back(plain);
  const std::byte* elements = plain_panels_.back().data();
  const CodedException mark = {kPlainPanel, 0, 0};
  std::memcpy(panel + kCodes, &mark, sizeof mark);
  std::memcpy(panel + kPlainAddress, &elements, sizeof elements);
}

}  // namespace weft::ops::cpu
