#include "ops/cpu/ceiling_loops.h"
#include "ops/cpu/simd_avx2.h"

namespace weft::ops::cpu::avx2 {

#include "ops/cpu/ceiling_body.h"

}  // namespace weft::ops::cpu::avx2
