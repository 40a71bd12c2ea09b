#include "ops/operators.h"

#include <algorithm>

namespace weft::ops {

void Matrix::SetBFloat16Rows(int32_t first, int32_t count, std::span<const BFloat16> values) {
  std::vector<float> wide(values.size());
  std::ranges::transform(values, wide.begin(), ToFloat);
  SetRows(first, count, wide);
}

}  // namespace weft::ops
