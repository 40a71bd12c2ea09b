#pragma once

#include "ops/cuda/lora_device.cuh"

// Hopper's products of a whole warpgroup, whose factors lie in shared memory: rows of 64 bf16, 128
// bytes, in blocks of eight rows that begin at multiples of 1,024 bytes, the vectors of a row
// swapped about by the row's number. They add up as Multiply does, bit by bit.

namespace weft::ops::cuda {

constexpr int kWarpgroup = 128;
/// Columns and bytes of a row of a factor.
constexpr int kFactorColumns = 64;
constexpr int kFactorRow = 128;
/// Sums of a thread: of 64 rows by 128 columns of a warpgroup.
using GroupSums = float[16][4];

/// Where vector `t` of a row lies in a factor.
__device__ inline uint32_t FactorOffset(int row, int t) {
  return row * kFactorRow + ((t ^ row) & 7) * 16;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ inline uint64_t DescribeFactor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kBlockBytes = uint64_t{8 * kFactorRow / 16} << 32;
  return kSwizzle128 | kBlockBytes | uint64_t{1} << 16 | (address >> 4 & 0x3fff);
}

/// Starts c [64, 128] = a [64, 16] * b [128, 16]^T, plus c where `add`.
__device__ inline void StartProduct(GroupSums& c, uint32_t a, uint32_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, add, 1, 1, 0, 0;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3]), "+f"(c[8][0]), "+f"(c[8][1]), "+f"(c[8][2]), "+f"(c[8][3]),
        "+f"(c[9][0]), "+f"(c[9][1]), "+f"(c[9][2]), "+f"(c[9][3]), "+f"(c[10][0]), "+f"(c[10][1]),
        "+f"(c[10][2]), "+f"(c[10][3]), "+f"(c[11][0]), "+f"(c[11][1]), "+f"(c[11][2]),
        "+f"(c[11][3]), "+f"(c[12][0]), "+f"(c[12][1]), "+f"(c[12][2]), "+f"(c[12][3]),
        "+f"(c[13][0]), "+f"(c[13][1]), "+f"(c[13][2]), "+f"(c[13][3]), "+f"(c[14][0]),
        "+f"(c[14][1]), "+f"(c[14][2]), "+f"(c[14][3]), "+f"(c[15][0]), "+f"(c[15][1]),
        "+f"(c[15][2]), "+f"(c[15][3])
      : "l"(DescribeFactor(a)), "l"(DescribeFactor(b)), "r"(static_cast<int>(add)));
}

/// Before the first product after the sums were used.
__device__ inline void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Until they are done.
__device__ inline void EndProducts(GroupSums& c) {
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int j = 0; j < 16; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[j][i])::"memory");
}
/// Makes what this thread wrote to shared memory visible to products.
__device__ inline void ShowToProducts() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
#endif

}  // namespace weft::ops::cuda
