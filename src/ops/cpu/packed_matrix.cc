#include "ops/cpu/packed_matrix.h"

#include <utility>

#include "base/check.h"
#include "ops/cpu/elements.h"

namespace weft::ops::cpu {

Result<std::unique_ptr<Matrix>> PackedMatrix::Create(device::Device& device, DType dtype,
                                                     int32_t out, int32_t in) {
  WEFT_CHECK(out > 0 && in > 0 && in % PairOf(dtype) == 0);
  const int64_t rows = (int64_t{out} + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  WEFT_ASSIGN_OR_RETURN(device::Buffer memory, device.AllocateDevice(rows * in * SizeOf(dtype)));
  return std::unique_ptr<Matrix>(new PackedMatrix(dtype, out, in, std::move(memory)));
}

void PackedMatrix::SetRows(int32_t first, int32_t count, std::span<const float> values) {
  WEFT_CHECK(first % kMatrixRowGranule == 0 && first + count <= out_);
  WEFT_CHECK(std::ssize(values) == int64_t{count} * in_);
  const int64_t pair = PairOf(dtype_);
  for (int32_t row = 0; row < count; ++row) {
    const int64_t panel = (first + row) / kPanelColumns * panel_stride();
    const int64_t lane = (first + row) % kPanelColumns;
    const float* from = values.data() + int64_t{row} * in_;
    for (int64_t k = 0; k < in_; ++k)
      StoreElement(dtype_, memory_.data(),
                   panel + (k / pair * kPanelColumns + lane) * pair + k % pair, from[k]);
  }
}

}  // namespace weft::ops::cpu
