#pragma once

#include "ops/cuda/shared_barriers.cuh"

// Rings of stages in shared memory, between warps that fill them and warps that use them. Each
// stage has two barriers (shared_barriers.cuh): full, and empty.

namespace weft::ops::cuda {

/// A place in a ring, and how often it went around.
template <int kStages>
struct RingPlace {
  int stage = 0;
  int parity = 0;

  __device__ void Advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

}  // namespace weft::ops::cuda
