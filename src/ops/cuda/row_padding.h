#pragma once

#include <cstdint>

namespace weft::ops::cuda {

/// How many rows a step of `rows` computes: few different numbers, so that each algorithm and each
/// graph is chosen once and found again. Powers of two up to 16, multiples of 8 up to 64, of 16
/// above: there a step takes as long as its rows, and 64 more of 1,024 would cost a tenth of it.
constexpr int32_t PaddedRows(int32_t rows) {
  if (rows <= 16) {
    int32_t padded = 1;
    while (padded < rows) padded *= 2;
    return padded;
  }
  const int32_t granule = rows <= 64 ? 8 : 16;
  return (rows + granule - 1) / granule * granule;
}

}  // namespace weft::ops::cuda
