#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "ops/cuda/sampler_rows.h"

namespace weft::ops::cuda {

/// One step's sampling. All pointers are the device's, but `host_results`.
struct SamplerParams {
  /// [rows, stride] float. Changed while the sampler runs and put back before it ends. Two requests
  /// may name one row only if neither has edits.
  float* logits = nullptr;
  int64_t stride = 0;
  int32_t vocabulary = 0;
  int32_t rows = 0;                         ///< Requests; of a captured graph, its bucket.
  const SampleRequest* requests = nullptr;  ///< [rows]
  LogitEdit* edits = nullptr;
  std::byte* scratch = nullptr;  ///< SamplerScratchBytes
  std::byte* results = nullptr;  ///< [rows] of result_bytes: SampleResult, then TopLogprobs.
  int64_t result_bytes = 0;
  std::byte* host_results = nullptr;  ///< Pinned: all results arrive there by one copy. Or null.
  int32_t* tokens = nullptr;          ///< [rows] also, for the next step's embedding. Or null.
};

int64_t SamplerScratchBytes(int32_t vocabulary, int32_t rows);

/// Once before the first launch on a device, outside of capture.
cudaError_t PrepareSampler();

/// The same tokens, validity and log-probabilities, bit for bit, as the CPU's Sampler for the same
/// logits: both compute exp, log and sums by the operations of ops/race_math.h, in the same order
/// where order matters. So a choice depends on nothing but the row's logits and request. Three
/// kernels and a copy; a row costs one pass over its logits when greedy, two when sampled, and
/// many (some hundred microseconds) when what top_p or top_k keep is more than 8,192 tokens.
cudaError_t LaunchSampler(const SamplerParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
