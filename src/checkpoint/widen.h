#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/bfloat16.h"
#include "base/bytes.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// Elements in the smallest unit that can be read by itself (1, or 32 or 256 for GGUF's blocks),
/// and its bytes.
struct StoredBlock {
  int64_t elements = 1;
  Bytes bytes = 4;
};
StoredBlock BlockOf(StoredType type);

/// "F32", "F16", "BF16", "Q8_0", ... of every StoredType, in its order.
std::span<const std::string_view> StoredTypeNames();
std::string_view StoredTypeName(StoredType type);

/// Bytes of `elements` (a multiple of the block's) stored as `type`.
Bytes StoredBytes(StoredType type, int64_t elements);

/// Widens stored elements to float, exact to the reference (for block types gguf-py's order of
/// operations, without fused multiply-add). raw.size() == StoredBytes(type, into.size()).
void WidenToFloat(StoredType type, std::span<const std::byte> raw, std::span<float> into);

/// Index of the first element that is not finite (NaN or infinity), if any. For kF32, kF16, kBF16.
/// Costs one pass that vectorises, and a second one only when there is something to name.
std::optional<int64_t> FirstNotFinite(StoredType type, std::span<const std::byte> raw);

/// Converts kF32, kF16 or kBF16 to bfloat16, rounding to nearest even. Returns the index of the
/// first result that is not finite (a float above 3.39e38 rounds to infinity), if any; `into` is
/// filled whole either way.
std::optional<int64_t> NarrowToBFloat16(StoredType type, std::span<const std::byte> raw,
                                        std::span<BFloat16> into);

}  // namespace weft::checkpoint
