#pragma once

#include <cstddef>
#include <cstring>

#include "base/bfloat16.h"
#include "base/dtype.h"

namespace weft::ops::cpu {

/// Stores `value` as element `index` of an array of `dtype`.
inline void StoreElement(DType dtype, std::byte* array, int64_t index, float value) {
  if (dtype == DType::kFloat32) {
    std::memcpy(array + index * 4, &value, 4);
  } else {
    const BFloat16 rounded = ToBFloat16(value);
    std::memcpy(array + index * 2, &rounded.bits, 2);
  }
}

}  // namespace weft::ops::cpu
