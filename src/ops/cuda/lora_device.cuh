#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/lora_kernels.h"
#include "ops/cuda/overlapped_launch.cuh"
#include "ops/cuda/shared_barriers.cuh"
#include "ops/cuda/tensor_core.cuh"

// What the LoRA kernels share: loads, and finding the entry of a unit.

namespace weft::ops::cuda {

/// bf16 elements of a 16-byte load.
constexpr int kVector = 8;

/// What a kernel before this one wrote: from L2, where it surely is.
__device__ inline uint4 LoadFresh(const void* address) {
  return __ldcg(static_cast<const uint4*>(address));
}
__device__ inline float4 LoadFreshFloats(const float* address) {
  return __ldcg(reinterpret_cast<const float4*>(address));
}

/// Copies 16 bytes to shared memory, or zeros when not `valid`.
__device__ inline void CopyAsync(uint32_t shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(bytes)
               : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;"); }
template <int kPending>
__device__ inline void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// c [16 rows, 8 columns] += a [16, 32] * b [8, 32]^T, as two products of 16 in order.
__device__ inline void Multiply32(float (&c)[4], const uint4 (&a)[2], const uint4& b) {
  Multiply(c, a[0].x, a[0].y, a[0].z, a[0].w, b.x, b.y);
  Multiply(c, a[1].x, a[1].y, a[1].z, a[1].w, b.z, b.w);
}

/// Four 8 x 8 matrices of bf16 from shared memory; lane l names row l % 8 of matrix l / 8.
__device__ inline uint4 LoadMatrices(uint32_t shared) {
  uint4 value;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(shared)
               : "memory");
  return value;
}

/// Of 32 columns, the one that column `c` of product `j` stands for, so that a thread's four
/// products are of eight neighbouring columns.
__device__ inline int SpreadColumn(int c, int j) { return (c / 2) * 8 + 2 * j + c % 2; }

__device__ inline int FirstProjectionOf(LoraOperator op) {
  return op == LoraOperator::kQkv      ? 0
         : op == LoraOperator::kOutput ? 3
         : op == LoraOperator::kGateUp ? 4
                                       : 6;
}
/// Where the tiles begin in a table.
__device__ inline int TilesOffset(const LoraParams& params) {
  return (params.layers * kLoraProjections + 1) / 2 * 2 * static_cast<int>(sizeof(LoraTableModule));
}

/// One unit's module.
struct LoraUnit {
  LoraEntry entry;
  const LoraTableTile* tiles;  ///< Of this layer's module, in device memory.
  LoraTableModule module;
  int number;  ///< The entry's, among the operator's.
  int unit;    ///< Counted from the entry's first.
  int units;   ///< Of the entry.
};

/// `from`: an entry in device memory.
__device__ inline LoraEntry ReadEntry(const LoraEntry* from) {
  const uint4 low = __ldcg(reinterpret_cast<const uint4*>(from));
  const uint4 high = __ldcg(reinterpret_cast<const uint4*>(from) + 1);
  LoraEntry entry;
  entry.table = uint64_t{low.y} << 32 | low.x;
  entry.first = static_cast<int>(low.z);
  entry.scratch = static_cast<int>(low.w);
  entry.rows = static_cast<int>(high.x);
  entry.tiles = static_cast<uint8_t>(high.y);
  entry.table_tiles = static_cast<uint8_t>(high.y >> 8);
  entry.index = static_cast<uint8_t>(high.y >> 16);
  return entry;
}

/// Looks up this layer's module of found.entry.
__device__ inline void FindModule(const LoraParams& params, LoraUnit& found) {
  found.tiles = nullptr;
  found.module = {0.0F, 0, 0};
  if (found.entry.table == 0) return;
  const int index =
      params.layer * kLoraProjections + FirstProjectionOf(params.op) + found.entry.index;
  const int2 raw = __ldg(reinterpret_cast<const int2*>(found.entry.table) + index);
  found.module.scaling = __int_as_float(raw.x);
  found.module.tiles = static_cast<int16_t>(raw.y & 0xffff);
  found.module.last_width = static_cast<int16_t>(raw.y >> 16);
  found.tiles = reinterpret_cast<const LoraTableTile*>(found.entry.table + TilesOffset(params)) +
                index * found.entry.table_tiles;
}

/// A block's place in its share of a kind of work.
struct LoraCursor {
  int left;        ///< Units, with the one found.
  LoraUnit found;  ///< While left > 0.
};

template <LoraWork kWork>
__device__ inline LoraCursor ReadStart(const LoraParams& params) {
  constexpr int kNumber = static_cast<int>(kWork);
  const int op = static_cast<int>(params.op);
  const LoraStart* start = kNumber < kDecodeWorks
                               ? &params.step->decode[op][kNumber % kDecodeWorks][blockIdx.x]
                               : &params.step->prefill[op][kNumber - kDecodeWorks][blockIdx.x];
  const int4 place = __ldcg(reinterpret_cast<const int4*>(&start->number));
  LoraCursor cursor;
  cursor.found.entry = ReadEntry(&start->entry);
  cursor.found.number = place.x;
  cursor.found.unit = place.y;
  cursor.found.units = place.z;
  cursor.left = place.w;
  if (cursor.left > 0) FindModule(params, cursor.found);
  return cursor;
}

/// To the next unit. Returns whether that is another entry's, or none.
template <LoraWork kWork>
__device__ inline bool Advance(const LoraParams& params, LoraCursor& cursor) {
  LoraUnit& found = cursor.found;
  --cursor.left;
  if (++found.unit < found.units) return false;
  if (cursor.left == 0) return true;
  const LoraOperatorStep& step = params.step->operators[static_cast<int>(params.op)];
  const int32_t* begin = step.begin[static_cast<int>(kWork)];
  do {
    ++found.number;
    found.units = __ldcg(begin + found.number + 1) - __ldcg(begin + found.number);
  } while (found.units == 0);
  found.unit = 0;
  found.entry = ReadEntry(&step.entries[found.number]);
  FindModule(params, found);
  return true;
}

/// In floats.
__device__ inline int64_t ScratchOf(const LoraUnit& found) {
  return int64_t{found.entry.scratch} * kLoraTile;
}

__device__ inline int WidthOf(const LoraTableModule& module, int tile) {
  return tile >= module.tiles ? 0 : tile + 1 == module.tiles ? module.last_width : kLoraTile;
}

__device__ inline const int32_t* RowNumbers(const LoraParams& params) { return params.row_numbers; }

}  // namespace weft::ops::cuda
