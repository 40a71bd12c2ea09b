#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weft {

/// A number of bytes.
using Bytes = int64_t;

inline constexpr Bytes kKiB = 1024;
inline constexpr Bytes kMiB = 1024 * kKiB;
inline constexpr Bytes kGiB = 1024 * kMiB;

/// "512MiB", "2GB", "1.5GiB", "4096": a size. KiB/MiB/GiB/TiB are powers of 1024, KB/MB/GB/TB of
/// 1000.
Result<Bytes> ParseBytes(std::string_view text);

/// "360 KiB", "1.25 GiB": the size for a person.
std::string FormatBytes(Bytes bytes);

}  // namespace weft
