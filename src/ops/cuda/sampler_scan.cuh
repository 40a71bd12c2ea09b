// The kernels that go over whole rows, a block for each chunk of each row: edits and the largest
// logit, then draws, candidates and sums.
#pragma once

#include "ops/cuda/sampler_device.cuh"

namespace weft::ops::cuda::sampling {

constexpr int kScanThreads = kScanWarps * kLanes;

__device__ inline float Edited(float logit, const LogitEdit& edit) {
  switch (edit.kind) {
    case EditKind::kRepetition:
      return logit > 0.0F ? __fdiv_rn(logit, edit.value) : __fmul_rn(logit, edit.value);
    case EditKind::kSubtract:
      return __fadd_rn(logit, -edit.value);
    case EditKind::kAdd:
      return __fadd_rn(logit, edit.value);
    default:
      return -INFINITY;
  }
}

/// Applies the edits of tokens [begin, end): a thread takes all of one token.
__device__ inline void ApplyEdits(const SampleRequest& request, LogitEdit* all, float* row,
                                  int begin, int end) {
  LogitEdit* edits = all + request.first_edit;
  const int first = FirstEdit(edits, request.edits, begin);
  const int last = FirstEdit(edits, request.edits, end);
  for (int i = first + static_cast<int>(threadIdx.x); i < last; i += kScanThreads) {
    const int token = edits[i].token;
    if (i > 0 && edits[i - 1].token == token) continue;
    float logit = row[token];
    edits[i].before = logit;
    for (int k = i; k < last && edits[k].token == token; ++k) logit = Edited(logit, edits[k]);
    row[token] = logit;
  }
}

__global__ void __launch_bounds__(kScanThreads) Scan(const SamplerParams params, Scratch scratch) {
  const auto r = static_cast<int>(blockIdx.y);
  const auto c = static_cast<int>(blockIdx.x);
  const SampleRequest request = params.requests[r];
  if (request.mode == SampleMode::kUnused) return;
  if (c == 0 && threadIdx.x == 0) scratch.list_count[r] = 0;
  float* row = params.logits + request.logits_row * params.stride;
  const int begin = c * race::kSumChunk;
  const int end = min(begin + race::kSumChunk, params.vocabulary);
  if (request.edits > 0) ApplyEdits(request, params.edits, row, begin, end);
  __syncthreads();
  uint64_t best = 0;
  const auto see = [&best](float logit, int token) {
    const uint64_t key = KeyOf(logit, token);
    best = key > best ? key : best;
  };
  const auto thread = static_cast<int>(threadIdx.x);
  if (params.vocabulary % 4 == 0 && params.stride % 4 == 0) {
#pragma unroll 4
    for (int i = begin + thread * 4; i < end; i += kScanThreads * 4) {
      const float4 four = *reinterpret_cast<const float4*>(row + i);
      see(four.x, i);
      see(four.y, i + 1);
      see(four.z, i + 2);
      see(four.w, i + 3);
    }
  } else {
#pragma unroll 4
    for (int i = begin + thread; i < end; i += kScanThreads) see(row[i], i);
  }
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(kAllLanes, best, offset);
    best = other > best ? other : best;
  }
  if (thread % kLanes == 0)
    scratch.warp_best[(r * Chunks(params.vocabulary) + c) * kScanWarps + thread / kLanes] = best;
}

/// The winner of an exponential race among tokens [begin, end). Tokens that could not beat the
/// likeliest token's own time are ruled out as the CPU does, without a logarithm.
__device__ inline uint64_t RaceChunk(const SampleRequest& request, const float* row, int begin,
                                     int end, uint64_t best, uint64_t* shared) {
  constexpr float kWide = 1.00001F;
  constexpr int kCounters = race::kSumChunk / 4;
  const float max = LogitOf(best);
  const float bound =
      race::TimeOf(DrawFor(request.seed, request.position, TokenOf(best)), 1.0F) * kWide;
  uint64_t first = kNone;
  for (int i = static_cast<int>(threadIdx.x); i < kCounters; i += kScanThreads) {
    const int token = begin + i / 16 * 64 + i % 16;
    if (token >= end) break;
    const Words words =
        Philox(static_cast<uint32_t>(begin / 4 + i), request.position, request.seed);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int at = token + 16 * j;
      if (at >= end) continue;
      const float scaled = race::Multiply(race::Add(row[at], -max), request.inverse_temperature);
      if (!(scaled > race::kNegligible)) continue;
      const float weight = race::Exp(scaled);
      const float uniform = OpenUnit(words.word[j]);
      if (bound * weight * kWide <= 1.0F - uniform) continue;
      const uint64_t entry = Entry(race::TimeOf(uniform, weight), at);
      first = entry < first ? entry : first;
    }
  }
  return Reduce<kScanThreads, Least>(first, kNone, shared);
}

/// Sum of exp over a chunk in the CPU's order; thread 0 has it.
__device__ inline float SumChunk(const float* row, int begin, int end, float max, float scale,
                                 float* weights) {
  for (int i = static_cast<int>(threadIdx.x); i < race::kSumChunk; i += kScanThreads)
    weights[i] = begin + i < end ? WeightOf(row[begin + i], max, scale) : 0.0F;
  __syncthreads();
  float sum = 0.0F;
  if (threadIdx.x < race::kSumLanes) {
#pragma unroll 16
    for (int i = 0; i < race::kSumChunk; i += race::kSumLanes)
      sum = race::Add(sum, weights[i + static_cast<int>(threadIdx.x)]);
  }
  __syncthreads();
  if (threadIdx.x < race::kSumLanes) weights[threadIdx.x] = sum;
  __syncthreads();
  sum = threadIdx.x < kLanes ? FoldLanes(weights) : 0.0F;
  __syncthreads();
  return sum;
}

__global__ void __launch_bounds__(kScanThreads) Draw(const SamplerParams params, Scratch scratch) {
  __shared__ uint64_t shared[kLanes];
  __shared__ float weights[race::kSumChunk];
  const auto r = static_cast<int>(blockIdx.y);
  const auto c = static_cast<int>(blockIdx.x);
  const SampleRequest request = params.requests[r];
  const bool filtered = request.mode == SampleMode::kFiltered;
  const bool races = request.mode == SampleMode::kRace;
  const bool sums = request.edits == 0 && (request.want_logprob != 0 || request.top_logprobs > 0) &&
                    request.mode != SampleMode::kUnused;
  if (!filtered && !races && !sums) return;
  const int chunks = Chunks(params.vocabulary);
  const uint64_t* warp_best = scratch.warp_best + r * chunks * kScanWarps;
  const int warps = chunks * kScanWarps;
  const uint64_t best = BestOf<kScanThreads>(warp_best, warps, shared);
  const float max = LogitOf(best);
  const float* row = params.logits + request.logits_row * params.stride;
  const int begin = c * race::kSumChunk;
  const int end = min(begin + race::kSumChunk, params.vocabulary);
  const int at = r * chunks + c;
  if (best == 0) return;
  if (sums) {
    const float sum = SumChunk(row, begin, end, max, 1.0F, weights);
    if (threadIdx.x == 0) scratch.chunk_raw_sum[at] = sum;
  }
  if (isinf(max)) return;
  if (races) {
    const uint64_t first = RaceChunk(request, row, begin, end, best, shared);
    if (threadIdx.x == 0) scratch.chunk_first[at] = first;
  }
  if (!filtered) return;
  uint64_t cut = LeastKey(race::Add(max, request.first_reach));
  if (request.top_k < params.vocabulary) {
    const uint64_t bound = BoundOf<kScanThreads>(warp_best, warps, request.top_k, shared);
    const uint64_t lowest = LeastKey(race::Add(max, request.last_reach));
    if (bound > 0) cut = bound > lowest ? bound : lowest;
  }
  Append<kScanThreads>(row, begin, end, cut, scratch.list + int64_t{r} * kListCapacity,
                       scratch.list_count + r);
  if (request.top_p_of_all == 0) return;
  const float sum = SumChunk(row, begin, end, max, request.inverse_temperature, weights);
  if (threadIdx.x == 0) scratch.chunk_sum[at] = sum;
}

}  // namespace weft::ops::cuda::sampling
