#include "ops/cuda/cuda_tile_packer.h"

#include <algorithm>
#include <cstring>

#include "base/bfloat16.h"
#include "base/check.h"

namespace weft::ops::cuda {
namespace {

void Convert(float from, float& to) { to = from; }
void Convert(float from, BFloat16& to) { to = ToBFloat16(from); }

template <typename T>
void PackRows(std::span<const float> a, size_t size, T* tile) {
  for (size_t i = 0; i < a.size(); ++i) Convert(a[i], tile[i]);
  std::fill(tile + a.size(), tile + size, T{});
}

template <typename T>
void PackColumns(const float* b, int32_t rank, int32_t columns, int32_t width, int32_t out,
                 T* tile) {
  for (int32_t n = 0; n < out; ++n, b += rank, tile += width) {
    for (int32_t k = 0; k < columns; ++k) Convert(b[k], tile[k]);
    std::fill(tile + columns, tile + width, T{});
  }
}

}  // namespace

void CudaTilePacker::PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
                           std::byte* tile) const {
  WEFT_CHECK(rows <= width && std::ssize(a) == int64_t{rows} * in);
  const auto size = static_cast<size_t>(int64_t{width} * in);
  if (dtype_ == DType::kFloat32) {
    PackRows(a, size, reinterpret_cast<float*>(tile));
  } else {
    PackRows(a, size, reinterpret_cast<BFloat16*>(tile));
  }
}

void CudaTilePacker::PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns,
                           int32_t width, int32_t out, std::byte* tile) const {
  WEFT_CHECK(columns <= width && first + columns <= rank);
  WEFT_CHECK(std::ssize(b) == int64_t{out} * rank);
  const float* from = b.data() + first;
  if (dtype_ == DType::kFloat32) {
    PackColumns(from, rank, columns, width, out, reinterpret_cast<float*>(tile));
  } else {
    PackColumns(from, rank, columns, width, out, reinterpret_cast<BFloat16*>(tile));
  }
}

}  // namespace weft::ops::cuda
