#include "ops/cpu/kernels.h"
#include "ops/cpu/simd_avx2.h"
#include "ops/race_math.h"

namespace weft::ops::cpu::avx2 {

// Each body uses those before it.
// clang-format off
#include "ops/cpu/gemm_body.h"
#include "ops/cpu/rows_body.h"
#include "ops/cpu/attention_body.h"
#include "ops/cpu/lora_body.h"
#include "ops/cpu/vocabulary_body.h"
#include "ops/cpu/kernel_table_body.h"
// clang-format on

const Kernels& Bfloat16Kernels() { return kPlainTable<BFloat16Element>; }
const Kernels& Float32Kernels() { return kPlainTable<Float32Element>; }

}  // namespace weft::ops::cpu::avx2
