#pragma once

#include <cuda.h>

#include <cstdint>

#include "ops/cuda/read_once.cuh"

// Barriers in shared memory, at which warps and copies in the background arrive.

namespace weft::ops::cuda {

constexpr int kWarp = 32;

__device__ inline uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

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

#if __CUDA_ARCH__ >= 900
/// Arrives, and the phase does not end before copies have brought so many bytes more.
__device__ inline void ArriveAndExpect(uint64_t* barrier, int bytes) {
  asm volatile(
      "{\n.reg .b64 state;\n"
      "mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
}

/// Copies what is read once to shared memory, in the background; all are multiples of 16.
__device__ inline void CopyBulkOnce(uint32_t to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(SharedAddress(barrier)), "l"(ReadOnce())
      : "memory");
}

/// The same for a box of tensor_map.h, which says where it lies. `map`: in a kernel's
/// __grid_constant__ parameter.
__device__ inline void CopyBoxOnce(uint32_t to, const CUtensorMap* map, int row, int columns,
                                   uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(map), "r"(SharedAddress(barrier)), "r"(0), "r"(row), "r"(columns), "l"(ReadOnce())
      : "memory");
}

/// The same for what is read again.
__device__ inline void CopyBox(uint32_t to, const CUtensorMap* map, int row, int columns,
                               uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%3, %4, %5}], [%2];" ::"r"(to),
      "l"(map), "r"(SharedAddress(barrier)), "r"(0), "r"(row), "r"(columns)
      : "memory");
}
#endif

/// So that the first copy of a box does not wait for its map.
__device__ inline void PrefetchMap(const CUtensorMap* map) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
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
