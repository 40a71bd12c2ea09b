#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/dtype.h"
#include "ops/cpu/kernels.h"

namespace weft::ops::cpu {

/// Loops that do one thing as fast as an instruction set can: what its kernels could reach if they
/// had nothing else to do. Pure; any thread.
struct CeilingLoops {
  /// The exclusive or of `bytes` bytes, a multiple of kReadGranule.
  uint32_t (*read)(const std::byte* memory, Bytes bytes);
  /// `rounds` of multiplications and additions in registers, of kOperandBytes bytes of elements
  /// that are loaded once. Returns the operations done; `sums` [16] takes what came out.
  double (*multiply_bfloat16)(int64_t rounds, const void* operands, float* sums);
  double (*multiply_float32)(int64_t rounds, const void* operands, float* sums);
};

inline constexpr Bytes kReadGranule = 4096;
inline constexpr Bytes kOperandBytes = 256;

const CeilingLoops& CeilingLoopsFor(Isa isa);

namespace avx2 {
const CeilingLoops& Loops();
}  // namespace avx2
namespace avx512 {
const CeilingLoops& Loops();
}  // namespace avx512

}  // namespace weft::ops::cpu
