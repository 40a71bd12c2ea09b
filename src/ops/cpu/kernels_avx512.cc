#include "ops/cpu/coded_panel.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/simd_avx512.h"
#include "ops/race_math.h"

namespace weft::ops::cpu::avx512 {

// Each body uses those before it.
// clang-format off
#include "ops/cpu/gemm_body.h"
#include "ops/cpu/coded_body.h"
#include "ops/cpu/rows_body.h"
#include "ops/cpu/attention_body.h"
#include "ops/cpu/lora_body.h"
#include "ops/cpu/vocabulary_body.h"
#include "ops/cpu/kernel_table_body.h"
// clang-format on

namespace {

/// Here, because a function whose address is taken is not inlined, and one of a header would be
/// shared with files that are compiled for other processors.
Bytes PanelBytes(int32_t in) { return CodedPanelBytes(in); }

constexpr Kernels CodedTable() {
  Kernels table = kPlainTable<BFloat16Element>;
  table.panel_bytes = PanelBytes;
  table.code_panel = CodePanel;
  table.weight_gemm = CodedGemm;
  table.unpack_row = DecodeRow;
  return table;
}
constexpr Kernels kCodedTable = CodedTable();

}  // namespace

const Kernels& Bfloat16Kernels() { return kCodedTable; }
const Kernels& Float32Kernels() { return kPlainTable<Float32Element>; }

}  // namespace weft::ops::cpu::avx512
