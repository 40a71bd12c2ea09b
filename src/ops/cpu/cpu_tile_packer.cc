#include "ops/cpu/cpu_tile_packer.h"

#include <array>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/panel_packing.h"

namespace weft::ops::cpu {
namespace {

const std::byte* AsBytes(const void* values) { return static_cast<const std::byte*>(values); }

/// One tile of A from elements of the tile's type.
template <typename T>
void InterleaveA(const T* a, int32_t rows, int32_t width, int32_t in, std::byte* tile) {
  InterleaveWords(AsBytes(a), in * int64_t{sizeof(T)}, rows, width, in * int64_t{sizeof(T)} / 4,
                  tile);
}

/// A panel of B: sixteen rows, of each `columns` elements; further ones up to `width` are zero.
template <typename T>
void InterleaveB(const T* b, int64_t stride, int32_t columns, int32_t width, std::byte* panel) {
  const int64_t words = width * int64_t{sizeof(T)} / 4;
  if (columns == width) {
    InterleaveWords(AsBytes(b), stride * int64_t{sizeof(T)}, kPanelColumns, kPanelColumns, words,
                    panel);
    return;
  }
  std::array<T, kPanelColumns * kRankTile> block{};
  for (int64_t row = 0; row < kPanelColumns; ++row)
    std::memcpy(block.data() + row * width, b + row * stride,
                static_cast<size_t>(columns) * sizeof(T));
  InterleaveWords(AsBytes(block.data()), width * int64_t{sizeof(T)}, kPanelColumns, kPanelColumns,
                  words, panel);
}

}  // namespace

void CpuTilePacker::PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
                          std::byte* tile) const {
  WEFT_CHECK(std::ssize(a) == int64_t{rows} * in);
  if (dtype_ == DType::kFloat32) {
    WEFT_CHECK(rows <= width);
    InterleaveA(a.data(), rows, width, in, tile);
    return;
  }
  std::vector<BFloat16> narrow(a.size());
  NarrowToBFloat16(a.data(), std::ssize(a), narrow.data());
  PackBFloat16A(narrow, rows, width, in, tile);
}

void CpuTilePacker::PackBFloat16A(std::span<const BFloat16> a, int32_t rows, int32_t width,
                                  int32_t in, std::byte* tile) const {
  if (dtype_ == DType::kFloat32) return TilePacker::PackBFloat16A(a, rows, width, in, tile);
  WEFT_CHECK(rows <= width && in % PairOf(dtype_) == 0);
  WEFT_CHECK(std::ssize(a) == int64_t{rows} * in);
  InterleaveA(a.data(), rows, width, in, tile);
}

void CpuTilePacker::PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns,
                          int32_t width, int32_t out, std::byte* tile) const {
  WEFT_CHECK(columns <= width && first + columns <= rank && out % kPanelColumns == 0);
  WEFT_CHECK(width <= kRankTile && std::ssize(b) == int64_t{out} * rank);
  const int64_t panel = SizeOf(dtype_) * kPanelColumns * width;
  std::array<BFloat16, kPanelColumns * kRankTile> narrow;
  for (int64_t n = 0; n < out; n += kPanelColumns, tile += panel) {
    const float* rows = b.data() + n * rank + first;
    if (dtype_ == DType::kFloat32) {
      InterleaveB(rows, rank, columns, width, tile);
      continue;
    }
    for (int64_t row = 0; row < kPanelColumns; ++row)
      NarrowToBFloat16(rows + row * rank, columns, narrow.data() + row * columns);
    InterleaveB(narrow.data(), columns, columns, width, tile);
  }
}

void CpuTilePacker::PackBFloat16B(std::span<const BFloat16> b, int32_t rank, int32_t first,
                                  int32_t columns, int32_t width, int32_t out,
                                  std::byte* tile) const {
  if (dtype_ == DType::kFloat32)
    return TilePacker::PackBFloat16B(b, rank, first, columns, width, out, tile);
  WEFT_CHECK(columns <= width && first + columns <= rank && out % kPanelColumns == 0);
  WEFT_CHECK(width <= kRankTile && std::ssize(b) == int64_t{out} * rank);
  const int64_t panel = SizeOf(dtype_) * kPanelColumns * width;
  for (int64_t n = 0; n < out; n += kPanelColumns, tile += panel)
    InterleaveB(b.data() + n * rank + first, rank, columns, width, tile);
}

}  // namespace weft::ops::cpu
