#include <algorithm>

#include "base/check.h"
#include "device/cuda/cuda_error.h"
#include "ops/cpu/kernels.h"
#include "ops/cuda/cuda_operators.h"
#include "ops/cuda/row_padding.h"

namespace weft::ops::cuda {
namespace {

/// What the GPU's sampler has room for; more is sampled on the host, to the same bits.
constexpr int32_t kMostEdits = 1 << 18;
constexpr int32_t kMostTopLogprobs = 32;

/// Whether two samples name one row of logits.
bool ShareRows(std::span<const SampleRow> samples) {
  for (size_t i = 1; i < samples.size(); ++i)
    if (samples[i].logits_row <= samples[i - 1].logits_row) return true;
  return false;
}

}  // namespace

Status CudaOperators::PrepareSampling() {
  cpu::Isa isa;
  if (!cpu::ChooseIsa(&isa))
    return MakeError(ErrorCode::kUnsupported,
                     "this processor has no AVX2 with FMA, which choosing tokens needs");
  const int32_t rows = PaddedRows(options_.max_logits_rows);
  WEFT_ASSIGN_OR_RETURN(host_logits_, device_.AllocateHost(rows * logits_stride_ * 4));
  host_sampler_ = std::make_unique<cpu::Sampler>(cpu::KernelsFor(isa, options_.dtype),
                                                 config_.vocabulary, 1);
  sample_planner_ = std::make_unique<SamplePlanner>(
      SamplerLimits{config_.vocabulary, rows, kMostEdits, kMostTopLogprobs});
  sample_plan_ = metadata_.Reserve(sample_planner_->plan_bytes());
  const Bytes results = rows * sample_planner_->result_bytes();
  WEFT_ASSIGN_OR_RETURN(host_results_, device_.AllocateHost(results));
  WEFT_ASSIGN_OR_RETURN(sample_results_, device_.AllocateDevice(results));
  WEFT_ASSIGN_OR_RETURN(
      sample_scratch_, device_.AllocateDevice(SamplerScratchBytes(config_.vocabulary, rows)));
  return device::cuda::ToStatus(PrepareSampler(), "preparing the sampler");
}

void CudaOperators::Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) {
  WEFT_CHECK(samples.size() == into.size());
  const bool many_top = std::any_of(samples.begin(), samples.end(), [](const SampleRow& sample) {
    return sample.top_logprobs > kMostTopLogprobs;
  });
  if (many_top || ShareRows(samples) || !sample_planner_->Fits(samples)) {
    SampleOnHost(samples, into);
  } else {
    SampleOnDevice(samples, into);
  }
}

void CudaOperators::SampleOnDevice(std::span<const SampleRow> samples,
                                   std::span<SampledToken> into) {
  const auto rows = static_cast<int32_t>(samples.size());
  std::byte* const slot = metadata_.Host<std::byte>(sample_plan_).data();
  std::byte* const plan = metadata_.Device<std::byte>(sample_plan_);
  sample_planner_->Plan(samples, rows, slot);
  WEFT_CUDA_CHECK(LaunchSlotUpload(slot, plan, stream_));
  metadata_.Upload(stream_);
  SamplerParams params;
  params.logits = logits_;
  params.stride = logits_stride_;
  params.vocabulary = config_.vocabulary;
  params.rows = rows;
  params.requests =
      reinterpret_cast<const SampleRequest*>(plan + sample_planner_->layout().requests);
  params.edits = reinterpret_cast<LogitEdit*>(plan + sample_planner_->layout().edits);
  params.scratch = sample_scratch_.data();
  params.results = sample_results_.data();
  params.result_bytes = sample_planner_->result_bytes();
  params.host_results = host_results_.data();
  WEFT_CUDA_CHECK(LaunchSampler(params, stream_));
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
  sample_planner_->Collect(host_results_.data(), into);
}

void CudaOperators::SampleOnHost(std::span<const SampleRow> samples, std::span<SampledToken> into) {
  int64_t rows = 0;
  for (const SampleRow& sample : samples) rows = std::max<int64_t>(rows, sample.logits_row + 1);
  WEFT_CUDA_CHECK(cudaMemcpyAsync(host_logits_.data(), logits_,
                                  static_cast<size_t>(rows * logits_stride_ * 4),
                                  cudaMemcpyDeviceToHost, stream_));
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
  const auto* logits = reinterpret_cast<const float*>(host_logits_.data());
  for (size_t i = 0; i < samples.size(); ++i)
    into[i] = host_sampler_->Sample({logits + samples[i].logits_row * logits_stride_,
                                     static_cast<size_t>(config_.vocabulary)},
                                    samples[i], 0);
}

}  // namespace weft::ops::cuda
