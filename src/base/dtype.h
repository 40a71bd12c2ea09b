#pragma once

#include <cstdint>

namespace weft {

/// The type weights, activations, KV and adapters are computed in (`--dtype`).
enum class DType : uint8_t { kFloat32, kBFloat16 };

/// Bytes of an element. (This file is for GPU code too, which cannot include base/bytes.h.)
inline constexpr int64_t SizeOf(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

}  // namespace weft
