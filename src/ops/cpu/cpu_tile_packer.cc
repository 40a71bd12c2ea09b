#include "ops/cpu/cpu_tile_packer.h"

#include "base/check.h"
#include "ops/cpu/elements.h"
#include "ops/cpu/kernels.h"

namespace weft::ops::cpu {

void CpuTilePacker::PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
                          std::byte* tile) const {
  const int64_t pair = PairOf(dtype_);
  WEFT_CHECK(rows <= width && in % pair == 0);
  WEFT_CHECK(std::ssize(a) == int64_t{rows} * in);
  for (int64_t r = 0; r < width; ++r)
    for (int64_t k = 0; k < in; ++k)
      StoreElement(dtype_, tile, (k / pair * width + r) * pair + k % pair,
                   r < rows ? a[static_cast<size_t>(r * in + k)] : 0.0F);
}

void CpuTilePacker::PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns,
                          int32_t width, int32_t out, std::byte* tile) const {
  const int64_t pair = PairOf(dtype_);
  WEFT_CHECK(columns <= width && first + columns <= rank && out % kPanelColumns == 0);
  WEFT_CHECK(std::ssize(b) == int64_t{out} * rank);
  for (int64_t n = 0; n < out; ++n) {
    const int64_t panel = n / kPanelColumns * kPanelColumns * width;
    for (int64_t k = 0; k < width; ++k)
      StoreElement(dtype_, tile,
                   panel + (k / pair * kPanelColumns + n % kPanelColumns) * pair + k % pair,
                   k < columns ? b[static_cast<size_t>(n * rank + first + k)] : 0.0F);
  }
}

}  // namespace weft::ops::cpu
