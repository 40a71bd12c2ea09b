#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"

namespace weft::checkpoint {

/// GGUF's block types hold 32 elements a block, scale first (ggml's block_q8_0, block_q4_0,
/// block_q4_1). Each function turns raw.size() / bytes-a-block blocks into 32 times as many floats,
/// with the operations in gguf-py's order (gguf/quants.py), so that results are bit-equal.
inline constexpr int kGgufBlock = 32;
inline constexpr Bytes kQ8_0Bytes = 2 + 32;
inline constexpr Bytes kQ4_0Bytes = 2 + 16;
inline constexpr Bytes kQ4_1Bytes = 2 + 2 + 16;

void DequantizeQ8_0(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ4_0(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ4_1(std::span<const std::byte> raw, std::span<float> into);

}  // namespace weft::checkpoint
