#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/dtype.h"

namespace weft::ops::cpu {

/// Columns of a panel. Weights, K, V and LoRA tiles all lie as [k / pair][16][pair], where a pair
/// is two neighbours along k in bf16 and a single element in float32.
inline constexpr int32_t kPanelColumns = 16;

/// Elements of k that lie together in a panel.
inline constexpr int32_t PairOf(DType dtype) { return dtype == DType::kBFloat16 ? 2 : 1; }

/// c [rows, 16 * panels] = (or +=) a [rows, k] * panels. Every element of c sums along k in the
/// same order whatever the rows and panels of the call.
struct GemmArgs {
  const void* a = nullptr;  ///< Elements, row-major.
  int64_t a_stride = 0;     ///< Elements between rows.
  const void* b = nullptr;
  int64_t b_stride = 0;  ///< Elements between panels.
  int32_t k = 0;         ///< A multiple of the pair.
  float* c = nullptr;
  int64_t c_stride = 0;
  int32_t rows = 0;
  int32_t panels = 0;
  bool accumulate = false;
  /// What the calling thread will read when it is through with these panels; fetched meanwhile.
  /// Null: nothing.
  const void* next = nullptr;
};

/// As GemmArgs, for panels of a PackedMatrix, whose form the kernels know: c (+)= a times elements
/// [first_k, first_k + k) of its panels' k.
struct WeightGemmArgs {
  const void* a = nullptr;  ///< [rows, k]: element first_k of the first row.
  int64_t a_stride = 0;
  const std::byte* panels = nullptr;
  Bytes panel_bytes = 0;  ///< From one panel to the next.
  int32_t panel_count = 0;
  int32_t in = 0;       ///< The matrix's whole k.
  int32_t first_k = 0;  ///< A multiple of kWeightDepth, as is k.
  int32_t k = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  int32_t rows = 0;
  bool accumulate = false;
  /// The panel that the calling thread will use next, perhaps of another matrix, fetched meanwhile
  /// as if it were one of this: a hint that may point past its end. Null: none.
  const std::byte* next = nullptr;
};

/// A weight's k may be cut at multiples of this.
inline constexpr int32_t kWeightDepth = 8;

/// out [rows, width] = scaling * (x [rows, in] * tile), rounded to elements once.
struct ShrinkArgs {
  const void* x = nullptr;
  int64_t x_stride = 0;
  int32_t rows = 0;
  int32_t in = 0;              ///< A multiple of the pair.
  const void* tile = nullptr;  ///< [in / pair][width][pair]
  int32_t width = 0;           ///< 8 or 16.
  float scaling = 0.0F;
  void* out = nullptr;
  int64_t out_stride = 0;
  /// What the calling thread will read next, fetched meanwhile. Null: nothing.
  const void* next = nullptr;
};

/// One head's row, as a projection left it, made ready for attention, in place.
struct HeadArgs {
  float* row = nullptr;  ///< [head_dim]
  int32_t head_dim = 0;
  const float* bias = nullptr;  ///< [head_dim] or null
  const float* norm = nullptr;  ///< [head_dim] or null: RMSNorm over the head
  float epsilon = 0.0F;
  const float* rope = nullptr;  ///< cos [head_dim / 2], sin [head_dim / 2], or null
};

/// Causal attention of one kv head's queries of neighbouring rows of a sequence.
struct AttentionArgs {
  const void* queries = nullptr;  ///< [rows][group][head_dim], contiguous.
  int32_t rows = 0;
  int32_t group = 0;  ///< Query heads that share the kv head.
  int32_t head_dim = 0;
  int32_t position = 0;  ///< Of the first row.
  int32_t tokens = 0;    ///< Written so far in the sequence; what lies past them may be NaN.
  const std::byte* const* pages = nullptr;
  int32_t groups_per_page = 0;
  int64_t group_bytes = 0;
  int64_t k_offset = 0;  ///< From a page's start to this layer's and head's K.
  int64_t v_offset = 0;
  float scale = 0.0F;
  void* out = nullptr;  ///< Row r, query head g of the group: out + r * out_stride + g * head_dim.
  int64_t out_stride = 0;
  std::byte* scratch = nullptr;  ///< AttentionScratchBytes.
  /// What the calling thread will attend to next, whose first K and V are fetched meanwhile. Null:
  /// nothing.
  const AttentionArgs* next = nullptr;
  bool fetched = false;  ///< A call before had these as its `next`.
};

/// Query rows (times heads of the group) that one attention task takes at most.
inline constexpr int32_t kAttentionQueries = 64;
/// Online softmax runs over blocks of this many tokens, counted from position 0 whatever the step:
/// promise P4.
inline constexpr int32_t kAttentionBlock = 64;

constexpr int64_t AttentionScratchBytes(int32_t group, int32_t head_dim) {
  const int64_t queries = group > kAttentionQueries ? group : kAttentionQueries;
  return queries * (kAttentionBlock * 8 + head_dim * 4 + 2 * 4 + 16 * 4) + 16 * head_dim * 4 + 4096;
}

/// What a race over the vocabulary chooses from: token i with probability proportional to
/// exp((logits[i] - max) * inverse_temperature).
struct RaceArgs {
  const float* logits = nullptr;
  int32_t count = 0;
  float max = 0.0F;
  float inverse_temperature = 1.0F;
  uint64_t seed = 0;
  uint32_t position = 0;
};

/// What an instruction set offers for one element type. Pure functions of their arguments; any
/// thread.
struct Kernels {
  void (*gemm)(const GemmArgs&);
  void (*shrink)(const ShrinkArgs&);
  /// out (elements) = x / rms(x) * weight.
  void (*rms_norm)(const float* x, const float* weight, int32_t n, float epsilon, void* out);
  /// x += c + bias (null: none).
  void (*add_row)(const float* c, const float* bias, int32_t n, float* x);
  /// out (elements) = silu(gate) * up.
  void (*silu_multiply)(const float* gate, const float* up, int32_t n, void* out);
  void (*finish_head)(const HeadArgs&);
  void (*store_row)(const float* row, int32_t n, void* out);
  /// Writes token `token` (0..15) of a group of 16.
  void (*store_k)(const float* row, int32_t head_dim, void* group, int32_t token);
  void (*store_v)(const float* row, int32_t head_dim, void* group, int32_t token);
  void (*attend)(const AttentionArgs&);
  /// Bytes of a weight's panel; `in` is a multiple of kPanelColumns.
  Bytes (*panel_bytes)(int32_t in);
  /// Plain elements of a panel to the form that weight_gemm reads, panel_bytes(in) bytes; false
  /// when they do not fit into it: the panel's bytes are unspecified then, and it must say where
  /// its elements are (coded_panel.h). Null: plain is the form.
  bool (*code_panel)(const void* elements, int32_t in, std::byte* panel);
  void (*weight_gemm)(const WeightGemmArgs&);
  /// Row `row` of a PackedMatrix as float, its n = in elements.
  void (*unpack_row)(const std::byte* panels, Bytes panel_bytes, int32_t row, int32_t n,
                     float* out);
  /// The largest, and the smallest index that has it; NaN counts as less than all. -1: only NaN.
  int32_t (*largest)(const float* x, int32_t n);
  /// Sum of exp((x - max) * scale), in a fixed order.
  float (*sum_exp)(const float* x, int32_t n, float max, float scale);
  int32_t (*race)(const RaceArgs&);
};

enum class Isa : uint8_t { kAvx2, kAvx512Bf16 };

const char* IsaName(Isa isa);
/// The best this processor has, or less when the environment variable WEFT_CPU_ISA says "avx2" or
/// "avx512bf16"; false when there is not even AVX2 with FMA.
bool ChooseIsa(Isa* isa);
const Kernels& KernelsFor(Isa isa, DType dtype);

namespace avx2 {
const Kernels& Bfloat16Kernels();
const Kernels& Float32Kernels();
}  // namespace avx2
namespace avx512 {
const Kernels& Bfloat16Kernels();
const Kernels& Float32Kernels();
}  // namespace avx512

}  // namespace weft::ops::cpu
