#pragma once

#include "ops/cuda/lora_device.cuh"

// Rings of stages in shared memory, between warps that fill them and warps that use them. Each
// stage has two barriers: full, and empty.

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

__device__ inline void InitBarrier(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(SharedAddress(barrier)), "r"(count));
}

/// Before copies may arrive at them.
__device__ inline void BarriersAreReady() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

__device__ inline void Arrive(uint64_t* barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(
                   SharedAddress(barrier))
               : "memory");
}

/// racecheck knows only that those who arrive have come so far: for it, every lane does.
#ifdef WEFT_RACECHECK
constexpr int kWarpArrivals = kWarp;
#else
constexpr int kWarpArrivals = 1;
#endif

/// A whole warp has come so far: kWarpArrivals.
__device__ inline void ArriveAsWarp(uint64_t* barrier) {
  __syncwarp();
  if (static_cast<int>(threadIdx.x) % kWarp < kWarpArrivals) Arrive(barrier);
}

/// Until the phase of `parity` is over.
__device__ inline void Wait(uint64_t* barrier, int parity) {
  uint32_t done = 0;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n.reg .pred done;\nmbarrier.try_wait.parity.shared.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}"
        : "=r"(done)
        : "r"(SharedAddress(barrier)), "r"(parity)
        : "memory");
#else
    asm volatile(
        "{\n.reg .pred done;\nmbarrier.test_wait.parity.shared.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}"
        : "=r"(done)
        : "r"(SharedAddress(barrier)), "r"(parity)
        : "memory");
#endif
  } while (done == 0);
}

}  // namespace weft::ops::cuda
