#pragma once

#include <array>
#include <cstdint>

namespace weft {

/// Philox4x32-10: a counter-based generator, so a draw depends on its key and counter alone, never
/// on how many draws came before (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
/// 2011).
std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// 32 random bits as a number in (0, 1), never 0 and never 1.
inline float OpenUnitInterval(uint32_t bits) {
  return (static_cast<float>(bits >> 9) + 0.5F) * (1.0F / 8388608.0F);
}

}  // namespace weft
