#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace weft::ops::cuda {

/// d [rows, out] = h [rows, in] * weight [out, in]^T (+ c [rows, out]). All row-major; strides in
/// elements.
struct GemmParams {
  DType dtype = DType::kBFloat16;      ///< Of h and the weight.
  DType out_dtype = DType::kBFloat16;  ///< Of c and d.
  const void* weight = nullptr;
  const void* h = nullptr;
  const void* c = nullptr;  ///< Null: nothing is added. May be d.
  void* d = nullptr;
  int32_t rows = 0;
  int32_t out = 0;
  int32_t in = 0;
  int64_t h_stride = 0;
  int64_t d_stride = 0;  ///< Of c as well.
};

}  // namespace weft::ops::cuda
