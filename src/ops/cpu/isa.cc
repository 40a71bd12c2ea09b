#include <cstdlib>
#include <string_view>

#include "ops/cpu/kernels.h"

namespace weft::ops::cpu {
namespace {

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool HasAvx512Bf16() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bf16");
}

}  // namespace

const char* IsaName(Isa isa) { return isa == Isa::kAvx512Bf16 ? "avx512bf16" : "avx2"; }

bool ChooseIsa(Isa* isa) {
  if (!HasAvx2()) return false;
  const char* wanted = std::getenv("WEFT_CPU_ISA");
  const bool capped = wanted != nullptr && std::string_view(wanted) == "avx2";
  *isa = !capped && HasAvx512Bf16() ? Isa::kAvx512Bf16 : Isa::kAvx2;
  return true;
}

const Kernels& KernelsFor(Isa isa, DType dtype) {
  const bool wide = dtype == DType::kFloat32;
  if (isa == Isa::kAvx512Bf16) return wide ? avx512::Float32Kernels() : avx512::Bfloat16Kernels();
  return wide ? avx2::Float32Kernels() : avx2::Bfloat16Kernels();
}

}  // namespace weft::ops::cpu
