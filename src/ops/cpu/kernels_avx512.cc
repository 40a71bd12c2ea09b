#include "ops/cpu/kernels.h"
#include "ops/cpu/simd_avx512.h"
#include "ops/race_math.h"

namespace weft::ops::cpu::avx512 {

// Each body uses those before it.
// clang-format off
#include "ops/cpu/gemm_body.h"
#include "ops/cpu/rows_body.h"
#include "ops/cpu/attention_body.h"
#include "ops/cpu/lora_body.h"
#include "ops/cpu/vocabulary_body.h"
#include "ops/cpu/kernel_table_body.h"
// clang-format on

}  // namespace weft::ops::cpu::avx512
