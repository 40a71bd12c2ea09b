#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bfloat16.h"

namespace weft::ops::cpu {

/// Lays rows of 4-byte words (a float, or a pair of neighbours in bf16) side by side, as panels
/// have them: word k of row i becomes word k * lanes + i. Rows past `rows` become zero. `lanes` is
/// a multiple of 4, `rows` <= lanes, `stride` the bytes between rows; no pointer need be aligned.
void InterleaveWords(const std::byte* from, int64_t stride, int32_t rows, int32_t lanes,
                     int64_t words, std::byte* to);

/// Rounds as ToBFloat16 does.
void NarrowToBFloat16(const float* from, int64_t count, BFloat16* to);

}  // namespace weft::ops::cpu
