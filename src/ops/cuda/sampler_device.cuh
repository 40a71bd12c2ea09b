// What the sampler's kernels share: keys that order tokens, draws, sums in the CPU's order,
// reductions over a block.
#pragma once

#include <cstdint>

#include "ops/cuda/sampler.h"
#include "ops/race_math.h"

namespace weft::ops::cuda::sampling {

constexpr int kLanes = 32;
constexpr unsigned kAllLanes = 0xffffffffU;
/// Candidates that one block can sort.
constexpr int kListCapacity = 8192;
/// Warps that scan a chunk, each a part of its tokens.
constexpr int kScanWarps = 8;
constexpr uint64_t kNone = ~uint64_t{0};

/// What the kernels work with between each other; C chunks of kSumChunk tokens a row.
struct Scratch {
  uint64_t* warp_best;    ///< [rows, C * kScanWarps]: the largest key that each warp of a scan saw.
  uint64_t* chunk_first;  ///< [rows, C]: time and token of the chunk's winner.
  float* chunk_sum;       ///< [rows, C]: of exp as the request's temperature has it,
  float* chunk_raw_sum;   ///< and of the model's own distribution.
  uint64_t* list;         ///< [rows, kListCapacity]: keys within first_reach,
  int32_t* list_count;    ///< [rows], how many there would be.
};

__host__ __device__ inline int Chunks(int vocabulary) {
  return (vocabulary + race::kSumChunk - 1) / race::kSumChunk;
}

/// Larger logits have larger keys, of equal ones the smaller token; NaN is 0, less than all. Zero
/// and minus zero are equal.
__device__ inline uint64_t KeyOf(float logit, int token) {
  if (logit != logit) return 0;
  const uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0F));
  const uint32_t ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return (uint64_t{ordered} << 32) | static_cast<uint32_t>(~token);
}
__device__ inline int TokenOf(uint64_t key) {
  return static_cast<int>(~static_cast<uint32_t>(key));
}
__device__ inline float LogitOf(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return __uint_as_float((ordered & 0x80000000U) != 0 ? ordered & 0x7fffffffU : ~ordered);
}
/// The least key of any token with at least this logit.
__device__ inline uint64_t LeastKey(float logit) {
  return KeyOf(logit, 0) & ~uint64_t{0xffffffffU};
}

struct Words {
  uint32_t word[4];
};

/// Philox4x32-10 as base/philox.h has it, for counter (block, position, 0, 0).
__device__ inline Words Philox(uint32_t block, uint32_t position, uint64_t seed) {
  uint32_t c0 = block, c1 = position, c2 = 0, c3 = 0;
  auto key0 = static_cast<uint32_t>(seed);
  auto key1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53U} * c0;
    const uint64_t product1 = uint64_t{0xCD9E8D57U} * c2;
    const auto next0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
    const auto next2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c0 = next0;
    c1 = static_cast<uint32_t>(product1);
    c2 = next2;
    c3 = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

__device__ inline float OpenUnit(uint32_t bits) {
  return __fmul_rn(__fadd_rn(static_cast<float>(bits >> 9), 0.5F), 1.0F / 8388608.0F);
}

/// Tokens 64 b + l + 16 j, j = 0..3, share counter 16 b + l: DrawFor of ops/cpu/sampler.cc.
__device__ inline float DrawFor(uint64_t seed, uint32_t position, int token) {
  const auto counter = static_cast<uint32_t>(token / 64 * 16 + token % 16);
  const Words words = Philox(counter, position, seed);
  const int j = token / 16 % 4;
  return OpenUnit(j == 0   ? words.word[0]
                  : j == 1 ? words.word[1]
                  : j == 2 ? words.word[2]
                           : words.word[3]);
}

__device__ inline float WeightOf(float logit, float max, float inverse_temperature) {
  return race::Exp(race::Multiply(race::Add(logit, -max), inverse_temperature));
}

/// Times are positive: their bits order them. Ties go to the smaller token.
__device__ inline uint64_t Entry(float time, int token) {
  return (uint64_t{__float_as_uint(time)} << 32) | static_cast<uint32_t>(token);
}

struct Largest {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};
struct Least {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a < b ? a : b; }
};
struct Sum {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};

/// Of all threads' values; every thread gets it. `shared` [kLanes] may be used again at once.
template <int kThreads, typename Operation>
__device__ uint64_t Reduce(uint64_t value, uint64_t identity, uint64_t* shared) {
  const Operation operation;
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    value = operation(value, __shfl_xor_sync(kAllLanes, value, offset));
  const int thread = static_cast<int>(threadIdx.x);
  if (thread % kLanes == 0) shared[thread / kLanes] = value;
  __syncthreads();
  value = thread % kLanes < kThreads / kLanes ? shared[thread % kLanes] : identity;
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    value = operation(value, __shfl_xor_sync(kAllLanes, value, offset));
  __syncthreads();
  return value;
}

/// The largest key of a row.
template <int kThreads>
__device__ uint64_t BestOf(const uint64_t* warp_best, int warps, uint64_t* shared) {
  uint64_t best = 0;
  for (int w = static_cast<int>(threadIdx.x); w < warps; w += kThreads)
    best = warp_best[w] > best ? warp_best[w] : best;
  return Reduce<kThreads, Largest>(best, 0, shared);
}

/// A key that at least `count` keys of the row reach and few more do: the count-th largest of what
/// the warps of the scan saw, each of another part of the row. 0 when there are fewer.
template <int kThreads>
__device__ uint64_t BoundOf(const uint64_t* warp_best, int warps, int count, uint64_t* shared) {
  uint64_t bound = 0;
  if (count > warps) return bound;
  for (int w = static_cast<int>(threadIdx.x); w < warps; w += kThreads) {
    const uint64_t mine = warp_best[w];
    int larger = 0;
    for (int other = 0; other < warps; ++other) larger += warp_best[other] > mine ? 1 : 0;
    if (larger == count - 1) bound = mine;
  }
  return Reduce<kThreads, Largest>(bound, 0, shared);
}

/// Sums 64 lanes in the order of SumLanes(Add(Add(a, b), Add(c, d))) of the CPU's kernels; for the
/// first half warp, each thread of which gets the sum's parts of its four lanes in `lanes`.
__device__ inline float FoldLanes(const float* lanes) {
  const int l = static_cast<int>(threadIdx.x) % 16;
  float sum =
      race::Add(race::Add(lanes[l], lanes[16 + l]), race::Add(lanes[32 + l], lanes[48 + l]));
  for (int offset = 8; offset > 0; offset /= 2)
    sum = race::Add(sum, __shfl_down_sync(kAllLanes, sum, offset, 16));
  return sum;
}

/// Adds up chunks' sums in double, in their order, and rounds, as the CPU's SumExp does.
__device__ inline float SumChunks(const float* sums, int chunks) {
  double total = 0.0;
  for (int c = 0; c < chunks; ++c) total = __dadd_rn(total, static_cast<double>(sums[c]));
  return static_cast<float>(total);
}

/// Appends the keys of tokens [begin, end) that are at least `cut` to a list, in any order; `count`
/// goes on counting when the list is full.
template <int kThreads>
__device__ void Append(const float* row, int begin, int end, uint64_t cut, uint64_t* list,
                       int32_t* count) {
  const unsigned before = (1U << (threadIdx.x % kLanes)) - 1;
  for (int start = begin; start < end; start += kThreads) {
    const int i = start + static_cast<int>(threadIdx.x);
    const uint64_t key = i < end ? KeyOf(row[i], i) : 0;
    const unsigned takers = __ballot_sync(kAllLanes, key >= cut);
    if (takers == 0) continue;
    int first = 0;
    if (threadIdx.x % kLanes == 0) first = atomicAdd(count, __popc(takers));
    const int at = __shfl_sync(kAllLanes, first, 0) + __popc(takers & before);
    if (key >= cut && at < kListCapacity) list[at] = key;
  }
}

/// The first edit of a row whose token is at least `token`.
__device__ inline int FirstEdit(const LogitEdit* edits, int count, int token) {
  int low = 0;
  while (low < count) {
    const int middle = low + (count - low) / 2;
    if (edits[middle].token < token)
      low = middle + 1;
    else
      count = middle;
  }
  return low;
}

}  // namespace weft::ops::cuda::sampling
