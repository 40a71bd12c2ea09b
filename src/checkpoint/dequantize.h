#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"

namespace weft::checkpoint {

/// GGUF's block types (ggml's structs block_q4_0, block_q4_K and so on). Each function turns
/// raw.size() / bytes-a-block blocks into floats, with the operations in gguf-py's order
/// (gguf/quants.py), so that results are bit-equal. The sums of bytes are a block's parts, in
/// order.

/// 32 elements a block, its scale first, then its minimum where it has one (Q4_1, Q5_1).
inline constexpr int kGgufBlock = 32;
inline constexpr Bytes kQ8_0Bytes = 2 + 32;
inline constexpr Bytes kQ4_0Bytes = 2 + 16;
inline constexpr Bytes kQ4_1Bytes = 2 + 2 + 16;
inline constexpr Bytes kQ5_0Bytes = 2 + 4 + 16;
inline constexpr Bytes kQ5_1Bytes = 2 + 2 + 4 + 16;

void DequantizeQ8_0(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ4_0(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ4_1(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ5_0(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ5_1(std::span<const std::byte> raw, std::span<float> into);

/// K-quants: 256 elements a block, whose runs of 16 or 32 have scales of 4, 6 or 8 bits of their
/// own, which the block's scale multiplies.
inline constexpr int kGgufSuperBlock = 256;
inline constexpr Bytes kQ2_KBytes = 16 + 64 + 2 + 2;
inline constexpr Bytes kQ3_KBytes = 32 + 64 + 12 + 2;
inline constexpr Bytes kQ4_KBytes = 2 + 2 + 12 + 128;
inline constexpr Bytes kQ5_KBytes = 2 + 2 + 12 + 32 + 128;
inline constexpr Bytes kQ6_KBytes = 128 + 64 + 16 + 2;

void DequantizeQ2_K(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ3_K(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ4_K(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ5_K(std::span<const std::byte> raw, std::span<float> into);
void DequantizeQ6_K(std::span<const std::byte> raw, std::span<float> into);

}  // namespace weft::checkpoint
