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
  host_sampler_ =
      std::make_unique<cpu::Sampler>(cpu::KernelsFor(isa, options_.dtype), config_.vocabulary, 1);
  sample_planner_ = std::make_unique<SamplePlanner>(
      SamplerLimits{config_.vocabulary, rows, kMostEdits, kMostTopLogprobs});
  sample_plan_ = metadata_.Reserve(sample_planner_->plan_bytes());
  const Bytes result = sample_planner_->result_bytes();
  WEFT_ASSIGN_OR_RETURN(sample_results_, device_.AllocateDevice(rows * result));
  // A prompt's log-probabilities are a sample for each row, and each sequence may choose a token.
  most_samples_ = options_.max_rows + options_.max_sequences;
  WEFT_RETURN_IF_ERROR(results_.Allocate(device_, most_samples_ * result));
  WEFT_ASSIGN_OR_RETURN(chosen_, device_.AllocateDevice(most_samples_ * Bytes{sizeof(int32_t)}));
  WEFT_ASSIGN_OR_RETURN(sample_scratch_,
                        device_.AllocateDevice(SamplerScratchBytes(config_.vocabulary, rows)));
  return device::cuda::ToStatus(PrepareSampler(), "preparing the sampler");
}

void CudaOperators::Sample(std::span<const SampleRow> samples, std::span<SampledToken> into) {
  WEFT_CHECK(samples.size() == into.size());
  WEFT_CHECK(samples_ + std::ssize(samples) <= most_samples_);
  const bool many_top = std::any_of(samples.begin(), samples.end(), [](const SampleRow& sample) {
    return sample.top_logprobs > kMostTopLogprobs;
  });
  if (many_top || ShareRows(samples) || !sample_planner_->Fits(samples)) {
    SampleOnHost(samples, into);
  } else {
    SampleOnDevice(samples, into);
  }
  samples_ += static_cast<int32_t>(samples.size());
}

void CudaOperators::SampleOnDevice(std::span<const SampleRow> samples,
                                   std::span<SampledToken> into) {
  const auto rows = static_cast<int32_t>(samples.size());
  // The plan of the piece before lies where this one's will.
  if (results_.has_samples()) WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
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
  params.host_results = results_.Place(into, rows * params.result_bytes);
  params.tokens = reinterpret_cast<int32_t*>(chosen_.data()) + samples_;
  WEFT_CUDA_CHECK(LaunchSampler(params, stream_));
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
    into[i] = host_sampler_->Sample(
        {logits + samples[i].logits_row * logits_stride_, static_cast<size_t>(config_.vocabulary)},
        samples[i], 0);
  std::vector<int32_t> tokens;
  for (const SampledToken& sampled : into) tokens.push_back(std::max(sampled.token, 0));
  // From memory that is not pinned: it has been read when the call returns.
  WEFT_CUDA_CHECK(cudaMemcpyAsync(chosen_.data() + samples_ * Bytes{sizeof(int32_t)}, tokens.data(),
                                  tokens.size() * sizeof(int32_t), cudaMemcpyHostToDevice,
                                  stream_));
}

}  // namespace weft::ops::cuda
