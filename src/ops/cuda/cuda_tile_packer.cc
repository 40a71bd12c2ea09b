#include "ops/cuda/cuda_tile_packer.h"

#include <algorithm>

#include "base/bfloat16.h"
#include "base/check.h"

namespace weft::ops::cuda {
namespace {

void Convert(float from, float& to) { to = from; }
void Convert(float from, BFloat16& to) { to = ToBFloat16(from); }
void Convert(BFloat16 from, float& to) { to = ToFloat(from); }
void Convert(BFloat16 from, BFloat16& to) { to = from; }

template <typename Value, typename Element>
void FillA(std::span<const Value> a, size_t size, Element* tile) {
  for (size_t i = 0; i < a.size(); ++i) Convert(a[i], tile[i]);
  std::fill(tile + a.size(), tile + size, Element{});
}

template <typename Value, typename Element>
void FillB(const Value* b, int32_t rank, int32_t columns, int32_t width, int32_t out,
           Element* tile) {
  for (int32_t n = 0; n < out; ++n, b += rank, tile += width) {
    for (int32_t k = 0; k < columns; ++k) Convert(b[k], tile[k]);
    std::fill(tile + columns, tile + width, Element{});
  }
}

template <typename Value>
void PackRows(DType dtype, std::span<const Value> a, int32_t rows, int32_t width, int32_t in,
              std::byte* tile) {
  WEFT_CHECK(rows <= width && std::ssize(a) == int64_t{rows} * in);
  const auto size = static_cast<size_t>(int64_t{width} * in);
  if (dtype == DType::kFloat32) {
    FillA(a, size, reinterpret_cast<float*>(tile));
  } else {
    FillA(a, size, reinterpret_cast<BFloat16*>(tile));
  }
}

template <typename Value>
void PackColumns(DType dtype, std::span<const Value> b, int32_t rank, int32_t first,
                 int32_t columns, int32_t width, int32_t out, std::byte* tile) {
  WEFT_CHECK(columns <= width && first + columns <= rank);
  WEFT_CHECK(std::ssize(b) == int64_t{out} * rank);
  const Value* from = b.data() + first;
  if (dtype == DType::kFloat32) {
    FillB(from, rank, columns, width, out, reinterpret_cast<float*>(tile));
  } else {
    FillB(from, rank, columns, width, out, reinterpret_cast<BFloat16*>(tile));
  }
}

}  // namespace

void CudaTilePacker::PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
                           std::byte* tile) const {
  PackRows(dtype_, a, rows, width, in, tile);
}

void CudaTilePacker::PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns,
                           int32_t width, int32_t out, std::byte* tile) const {
  PackColumns(dtype_, b, rank, first, columns, width, out, tile);
}

void CudaTilePacker::PackBFloat16A(std::span<const BFloat16> a, int32_t rows, int32_t width,
                                   int32_t in, std::byte* tile) const {
  PackRows(dtype_, a, rows, width, in, tile);
}

void CudaTilePacker::PackBFloat16B(std::span<const BFloat16> b, int32_t rank, int32_t first,
                                   int32_t columns, int32_t width, int32_t out,
                                   std::byte* tile) const {
  PackColumns(dtype_, b, rank, first, columns, width, out, tile);
}

}  // namespace weft::ops::cuda
