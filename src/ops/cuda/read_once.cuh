#pragma once

#include <cstdint>

namespace weft::ops::cuda {

/// A load's or copy's policy: what is read once a step, weights and KV, leaves L2 before what is
/// read again, activations and the tables that every layer looks things up in.
__device__ inline uint64_t ReadOnce() {
  uint64_t policy = 0;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

}  // namespace weft::ops::cuda
