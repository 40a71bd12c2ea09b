#pragma once

#include <chrono>
#include <cstdint>

namespace weft::server {

/// Seconds since 1970, for "created" fields and metrics; never for measuring.
inline int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace weft::server
