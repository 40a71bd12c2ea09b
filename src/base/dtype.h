#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace weft {

/// The type weights, activations, KV and adapters are computed in (`--dtype`).
enum class DType : uint8_t { kFloat32, kBFloat16 };

inline constexpr Bytes SizeOf(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

}  // namespace weft
