#include "ops/cpu/ceiling_loops.h"
#include "ops/cpu/simd_avx512.h"

namespace weft::ops::cpu::avx512 {

#include "ops/cpu/ceiling_body.h"

}  // namespace weft::ops::cpu::avx512
