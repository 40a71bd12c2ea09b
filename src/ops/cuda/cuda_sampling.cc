#include <algorithm>

#include "base/check.h"
#include "device/cuda/cuda_error.h"
#include "ops/cpu/kernels.h"
#include "ops/cuda/cuda_operators.h"
#include "ops/cuda/row_padding.h"

namespace weft::ops::cuda {

Status CudaOperators::PrepareSampling() {
  cpu::Isa isa;
  if (!cpu::ChooseIsa(&isa))
    return MakeError(ErrorCode::kUnsupported,
                     "this processor has no AVX2 with FMA, which choosing tokens needs");
  const Bytes bytes = PaddedRows(options_.max_logits_rows) * logits_stride_ * 4;
  WEFT_ASSIGN_OR_RETURN(host_logits_, device_.AllocateHost(bytes));
  sampler_ =
      std::make_unique<cpu::Sampler>(cpu::KernelsFor(isa, options_.dtype), config_.vocabulary, 1);
  return OkStatus();
}

// On the host, by the CPU's sampler: for the same logits the two backends choose the same.
void CudaOperators::Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) {
  WEFT_CHECK(samples.size() == into.size());
  int64_t rows = 0;
  for (const SampleRow& sample : samples) rows = std::max<int64_t>(rows, sample.logits_row + 1);
  WEFT_CUDA_CHECK(cudaMemcpyAsync(host_logits_.data(), logits_,
                                  static_cast<size_t>(rows * logits_stride_ * 4),
                                  cudaMemcpyDeviceToHost, stream_));
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
  const auto* logits = reinterpret_cast<const float*>(host_logits_.data());
  for (size_t i = 0; i < samples.size(); ++i)
    into[i] = sampler_->Sample(
        {logits + samples[i].logits_row * logits_stride_, static_cast<size_t>(config_.vocabulary)},
        samples[i], 0);
}

}  // namespace weft::ops::cuda
