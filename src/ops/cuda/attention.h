#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/cuda/attention_plan.h"
#include "ops/cuda/attention_work.h"
#include "ops/cuda/side_stream.h"

namespace weft::ops::cuda {

/// One layer's attention for a planned step.
struct AttentionParams {
  const void* queries = nullptr;     ///< bf16 [rows, heads, head_dim]
  const std::byte* arena = nullptr;  ///< Page i at arena + i * page_bytes.
  int64_t page_bytes = 0;
  int32_t page_count = 0;
  int64_t k_offset =
      0;  ///< Bytes from a page's start to this layer's K [kv_head][token][head_dim].
  int64_t v_offset = 0;  ///< Behind k_offset. All are multiples of a token's bytes of one kv head.
  void* out = nullptr;   ///< bf16 [rows, heads * head_dim]; rows of no sequence stay as they are
                         ///< (PlanDecode: become zero).
  std::byte* plan = nullptr;  ///< Device: the step's plan.
  std::byte* scratch =
      nullptr;  ///< Device: PagedAttention::scratch_bytes, used by one step at once.
};

/// Causal attention over paged KV: softmax(q k / sqrt(head_dim)) v in float, rounded to bf16 once.
/// FlashInfer's tensor core kernels for head dimensions 64 and 128, a plain kernel of our own for
/// other multiples of 16 up to 256. What lies in pages past a sequence's tokens may be NaN. Holds
/// no memory of the device; one thread at a time. Launches may be captured: a plan of PlanDecode
/// for the same bucket may then replace the captured one's bytes.
class PagedAttention {
 public:
  PagedAttention(const AttentionShape& shape, const AttentionPlanner& planner);

  /// Whether a kernel takes head_dim.
  static bool Serves(int32_t head_dim);
  /// Once, before the first launch and outside of capture.
  cudaError_t Prepare() const;
  int64_t scratch_bytes() const;
  /// All passes of `launch` for one layer; what may runs on `beside`, which is free before and
  /// after.
  cudaError_t Run(const AttentionParams& params, const AttentionLaunch& launch, cudaStream_t stream,
                  SideStream& beside) const;

 private:
  cudaError_t RunPass(const AttentionParams& params, const AttentionPass& pass, AttentionWork work,
                      cudaStream_t stream) const;

  const AttentionShape shape_;
  const AttentionPlanLayout layout_;
  const int32_t max_partial_rows_;
  const bool deterministic_;
};

}  // namespace weft::ops::cuda
