// The kernel that ends a row, a block for each: what min_p, top_k and top_p leave, the race among
// it, log-probabilities.
#pragma once

#include "ops/cuda/sampler_device.cuh"

namespace weft::ops::cuda::sampling {

constexpr int kChooseThreads = 1024;
constexpr int kKeysPerThread = kListCapacity / kChooseThreads;

/// What the functions of a block pass around.
struct Row {
  const float* logits;
  int vocabulary;
  float max;
  float inverse_temperature;
  const uint64_t* warp_best;  ///< Of the edited logits.
  int warps;
  uint64_t* list;    ///< Shared, [kListCapacity].
  uint64_t* shared;  ///< [kLanes]
};

__device__ inline int ThreadIndex() { return static_cast<int>(threadIdx.x); }

/// Sorts the first `count` keys of the list, largest first; the rest up to a power of two become 0.
__device__ inline void SortList(const Row& row, int count) {
  int size = 2;
  while (size < count) size *= 2;
  for (int i = count + ThreadIndex(); i < size; i += kChooseThreads) row.list[i] = 0;
  __syncthreads();
  for (int width = 2; width <= size; width *= 2) {
    for (int step = width / 2; step > 0; step /= 2) {
      for (int i = ThreadIndex(); i < size / 2; i += kChooseThreads) {
        const int low = i / step * step * 2 + i % step;
        const uint64_t a = row.list[low];
        const uint64_t b = row.list[low + step];
        if ((a < b) == ((low & width) == 0)) {
          row.list[low] = b;
          row.list[low + step] = a;
        }
      }
      __syncthreads();
    }
  }
}

__device__ inline uint64_t MassOfKey(const Row& row, uint64_t key) {
  return race::MassOf(WeightOf(LogitOf(key), row.max, row.inverse_temperature));
}

/// How many of the first `count` sorted keys, with the mass `before` that comes before them, reach
/// the share top_p of `all` (negative: of their own mass); -1 when even all do not.
__device__ inline int CutSorted(const Row& row, int count, uint64_t before, float top_p,
                                double all) {
  uint64_t masses[kKeysPerThread];
  uint64_t own = 0;
  const int first = ThreadIndex() * kKeysPerThread;
#pragma unroll
  for (int k = 0; k < kKeysPerThread; ++k) {
    masses[k] = first + k < count ? MassOfKey(row, row.list[first + k]) : 0;
    own += masses[k];
  }
  uint64_t upto = own;
  for (int offset = 1; offset < kLanes; offset *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, upto, offset);
    if (ThreadIndex() % kLanes >= offset) upto += other;
  }
  if (ThreadIndex() % kLanes == kLanes - 1) row.shared[ThreadIndex() / kLanes] = upto;
  __syncthreads();
  before += upto - own;
  uint64_t total = 0;
  for (int warp = 0; warp < kChooseThreads / kLanes; ++warp) {
    if (warp < ThreadIndex() / kLanes) before += row.shared[warp];
    total += row.shared[warp];
  }
  __syncthreads();
  if (all < 0.0) all = static_cast<double>(total);
  uint64_t cut = kNone;
#pragma unroll
  for (int k = 0; k < kKeysPerThread; ++k) {
    before += masses[k];
    if (cut == kNone && first + k < count && race::Reaches(before, top_p, all))
      cut = static_cast<uint64_t>(first + k + 1);
  }
  cut = Reduce<kChooseThreads, Least>(cut, kNone, row.shared);
  return cut == kNone ? -1 : static_cast<int>(cut);
}

/// What a cut is measured by: a number of tokens, or their mass.
struct Target {
  uint64_t count;  ///< 0: by mass.
  float top_p;
  double all;
  __device__ bool Met(uint64_t tokens, uint64_t mass) const {
    if (tokens == 0) return false;
    return count > 0 ? tokens >= count : race::Reaches(mass, top_p, all);
  }
};

/// Of keys at or above a cut.
struct Measured {
  uint64_t tokens;
  uint64_t mass;  ///< Measured where asked for.
};

/// One pass over the row.
__device__ inline Measured Measure(const Row& row, bool mass, uint64_t cut) {
  Measured all{0, 0};
#pragma unroll 4
  for (int i = ThreadIndex(); i < row.vocabulary; i += kChooseThreads) {
    const uint64_t key = KeyOf(row.logits[i], i);
    if (key < cut) continue;
    ++all.tokens;
    if (mass) all.mass += MassOfKey(row, key);
  }
  all.tokens = Reduce<kChooseThreads, Sum>(all.tokens, 0, row.shared);
  if (mass) all.mass = Reduce<kChooseThreads, Sum>(all.mass, 0, row.shared);
  return all;
}

/// Lists the keys in [low, high), sorted; there are at most kListCapacity.
__device__ inline int ListBetween(const Row& row, uint64_t low, uint64_t high) {
  __shared__ int32_t count;
  if (ThreadIndex() == 0) count = 0;
  __syncthreads();
  for (int i = ThreadIndex(); i < row.vocabulary; i += kChooseThreads) {
    const uint64_t key = KeyOf(row.logits[i], i);
    if (key >= low && key < high) row.list[atomicAdd(&count, 1)] = key;
  }
  __syncthreads();
  SortList(row, count);
  return count;
}

/// The largest cut whose keys meet the target, or `bottom` where none does. Halves the range of
/// keys until a block can sort what is between a cut that meets it and one that does not.
__device__ inline uint64_t FindCut(const Row& row, const Target& target, uint64_t bottom) {
  const bool mass = target.count == 0;
  Measured at_low = Measure(row, mass, bottom);
  if (!target.Met(at_low.tokens, at_low.mass)) return bottom;
  Measured at_high{0, 0};
  uint64_t low = bottom;
  uint64_t high = KeyOf(row.max, 0) + 1;
  while (at_low.tokens - at_high.tokens > kListCapacity) {
    const uint64_t middle = low + (high - low) / 2;
    const Measured measured = Measure(row, mass, middle);
    if (target.Met(measured.tokens, measured.mass)) {
      low = middle;
      at_low = measured;
    } else {
      high = middle;
      at_high = measured;
    }
  }
  const int listed = ListBetween(row, low, high);
  if (!mass) return row.list[target.count - at_high.tokens - 1];
  const int cut = CutSorted(row, listed, at_high.mass, target.top_p, target.all);
  return row.list[cut - 1];
}

/// The race among the first `count` keys of the list.
__device__ inline int RaceList(const Row& row, const SampleRequest& request, int count) {
  uint64_t first = kNone;
  for (int i = ThreadIndex(); i < count; i += kChooseThreads) {
    const uint64_t key = row.list[i];
    const int token = TokenOf(key);
    const float weight = WeightOf(LogitOf(key), row.max, row.inverse_temperature);
    const uint64_t entry =
        Entry(race::TimeOf(DrawFor(request.seed, request.position, token), weight), token);
    first = entry < first ? entry : first;
  }
  first = Reduce<kChooseThreads, Least>(first, kNone, row.shared);
  return static_cast<int>(static_cast<uint32_t>(first));
}

/// The race among all tokens at or above a cut.
__device__ inline int RaceRow(const Row& row, const SampleRequest& request, uint64_t cut) {
  uint64_t first = kNone;
  for (int i = ThreadIndex(); i < row.vocabulary; i += kChooseThreads) {
    const float logit = row.logits[i];
    if (KeyOf(logit, i) < cut) continue;
    const float weight = WeightOf(logit, row.max, row.inverse_temperature);
    const uint64_t entry =
        Entry(race::TimeOf(DrawFor(request.seed, request.position, i), weight), i);
    first = entry < first ? entry : first;
  }
  first = Reduce<kChooseThreads, Least>(first, kNone, row.shared);
  return static_cast<int>(static_cast<uint32_t>(first));
}

/// For rows that keep more tokens than a block can sort: several passes over the row for each cut.
__device__ inline int ChooseFromRow(const Row& row, const SampleRequest& request, double all) {
  uint64_t cut = LeastKey(race::Add(row.max, request.last_reach));
  if (request.top_k < row.vocabulary)
    cut = FindCut(row, {static_cast<uint64_t>(request.top_k), 0.0F, 0.0}, cut);
  if (request.top_p < 1.0F) {
    if (all < 0.0) all = static_cast<double>(Measure(row, true, cut).mass);
    cut = FindCut(row, {0, request.top_p, all}, cut);
  }
  return RaceRow(row, request, cut);
}

/// min_p, top_k, top_p, and a race: as Sampler::KeepLikely of the CPU has them.
__device__ inline int ChooseFiltered(const Row& row, const SampleRequest& request,
                                     const uint64_t* list, int listed, const float* chunk_sum) {
  double all = -1.0;
  if (request.top_p_of_all != 0)
    all = __dmul_rn(race::kWholeMass,
                    static_cast<double>(SumChunks(chunk_sum, Chunks(row.vocabulary))));
  // With a top_k that BoundOf served, the list has that many, or all within the last reach.
  const bool bounded =
      request.top_k < row.vocabulary && request.top_k <= row.warps &&
      BoundOf<kChooseThreads>(row.warp_best, row.warps, request.top_k, row.shared) > 0;
  const bool last = bounded || request.first_reach <= request.last_reach;
  const bool enough = last || listed >= request.top_k || request.top_p_of_all != 0;
  if (listed > kListCapacity || !enough) return ChooseFromRow(row, request, all);
  for (int i = ThreadIndex(); i < listed; i += kChooseThreads) row.list[i] = list[i];
  SortList(row, listed);
  int count = min(listed, request.top_k);
  if (request.top_p < 1.0F) {
    const int cut = CutSorted(row, count, 0, request.top_p, all);
    if (cut < 0 && !last) return ChooseFromRow(row, request, all);
    if (cut > 0) count = cut;
  }
  return RaceList(row, request, count);
}

/// Sum of exp over the whole row in the CPU's order, 16 chunks at a time; for rows whose logits
/// were edited while their chunks were summed elsewhere.
__device__ inline float SumRow(const Row& row, float* lanes) {
  constexpr int kTogether = kChooseThreads / race::kSumLanes;
  const int slot = ThreadIndex() / race::kSumLanes;
  const int lane = ThreadIndex() % race::kSumLanes;
  double total = 0.0;
  for (int start = 0; start < Chunks(row.vocabulary); start += kTogether) {
    const int begin = (start + slot) * race::kSumChunk;
    const int end = min(begin + race::kSumChunk, row.vocabulary);
    float sum = 0.0F;
    for (int i = begin + lane; i < end; i += race::kSumLanes)
      sum = race::Add(sum, WeightOf(row.logits[i], row.max, 1.0F));
    __syncthreads();
    lanes[ThreadIndex()] = sum;
    __syncthreads();
    float folded = 0.0F;
    if (lane < kLanes) folded = FoldLanes(lanes + slot * race::kSumLanes);
    __syncthreads();
    if (lane == 0) lanes[slot] = folded;
    __syncthreads();
    for (int s = 0; s < kTogether && start + s < Chunks(row.vocabulary); ++s)
      total = __dadd_rn(total, static_cast<double>(lanes[s]));
    __syncthreads();
  }
  return static_cast<float>(total);
}

/// Puts the `wanted` largest keys, sorted, at the head of the list.
__device__ inline void ListLikeliest(const Row& row, bool edited, int wanted, int32_t* count) {
  constexpr float kReach = -8.0F;
  uint64_t cut = edited ? 0 : BoundOf<kChooseThreads>(row.warp_best, row.warps, wanted, row.shared);
  if (cut == 0) cut = LeastKey(race::Add(row.max, kReach));
  for (bool again = false;; again = true) {
    if (ThreadIndex() == 0) *count = 0;
    __syncthreads();
    Append<kChooseThreads>(row.logits, 0, row.vocabulary, cut, row.list, count);
    __syncthreads();
    const int listed = *count;
    __syncthreads();
    if (again || (listed >= wanted && listed <= kListCapacity)) {
      SortList(row, min(listed, kListCapacity));
      return;
    }
    cut = FindCut(row, {static_cast<uint64_t>(wanted), 0.0F, 0.0}, 1);
  }
}

/// Takes the edits of a row back.
__device__ inline void Undo(const SampleRequest& request, const LogitEdit* all, float* row) {
  const LogitEdit* edits = all + request.first_edit;
  for (int i = ThreadIndex(); i < request.edits; i += kChooseThreads)
    if (i == 0 || edits[i - 1].token != edits[i].token) row[edits[i].token] = edits[i].before;
  __syncthreads();
}

/// Log-probabilities of the model's own distribution.
__device__ inline void FillLogprobs(Row& row, const SampleRequest& request, uint64_t best,
                                    const float* chunk_raw_sum, int32_t* count,
                                    SampleResult& result, TopLogprob* top) {
  float sum;
  if (request.edits > 0) {
    best = 0;
    for (int i = ThreadIndex(); i < row.vocabulary; i += kChooseThreads) {
      const uint64_t key = KeyOf(row.logits[i], i);
      best = key > best ? key : best;
    }
    best = Reduce<kChooseThreads, Largest>(best, 0, row.shared);
    if (best == 0) return;
    row.max = LogitOf(best);
    sum = SumRow(row, reinterpret_cast<float*>(row.list));
  } else {
    if (best == 0) return;
    sum = SumChunks(chunk_raw_sum, Chunks(row.vocabulary));
  }
  if (!isfinite(sum)) {
    result.valid = 0;
    return;
  }
  const float log_sum = race::Log(sum);
  const auto logprob = [&](float logit) { return race::Add(race::Add(logit, -row.max), -log_sum); };
  if (request.want_logprob != 0) result.logprob = logprob(row.logits[result.token]);
  if (request.top_logprobs == 0) return;
  ListLikeliest(row, request.edits > 0, request.top_logprobs, count);
  for (int i = ThreadIndex(); i < request.top_logprobs; i += kChooseThreads)
    top[i] = {TokenOf(row.list[i]), logprob(LogitOf(row.list[i]))};
  result.top_count = request.top_logprobs;
}

__global__ void __launch_bounds__(kChooseThreads)
    Choose(const SamplerParams params, Scratch scratch) {
  extern __shared__ uint64_t list[];
  __shared__ uint64_t shared[kLanes];
  __shared__ int32_t count;
  const auto r = static_cast<int>(blockIdx.x);
  const SampleRequest request = params.requests[r];
  if (request.mode == SampleMode::kUnused) return;
  const int chunks = Chunks(params.vocabulary);
  float* logits = params.logits + request.logits_row * params.stride;
  const uint64_t* warp_best = scratch.warp_best + r * chunks * kScanWarps;
  const uint64_t best = BestOf<kChooseThreads>(warp_best, chunks * kScanWarps, shared);
  Row row{logits,    params.vocabulary,   LogitOf(best), request.inverse_temperature,
          warp_best, chunks * kScanWarps, list,          shared};
  int token = request.given_token;
  if (request.mode != SampleMode::kGiven) {
    if (best == 0 || row.max == -INFINITY) {
      token = -1;
    } else if (request.mode == SampleMode::kLargest || row.max == INFINITY) {
      token = TokenOf(best);
    } else if (request.mode == SampleMode::kRace) {
      uint64_t first = kNone;
      for (int c = ThreadIndex(); c < chunks; c += kChooseThreads)
        first = min(first, scratch.chunk_first[r * chunks + c]);
      first = Reduce<kChooseThreads, Least>(first, kNone, shared);
      token = static_cast<int>(static_cast<uint32_t>(first));
    } else {
      token = ChooseFiltered(row, request, scratch.list + int64_t{r} * kListCapacity,
                             scratch.list_count[r], scratch.chunk_sum + r * chunks);
    }
    __syncthreads();
    Undo(request, params.edits, logits);
  }
  SampleResult result{token < 0 ? 0 : token, token < 0 ? 0 : 1, 0.0F, 0};
  std::byte* out = params.results + r * params.result_bytes;
  if (request.want_logprob != 0 || request.top_logprobs > 0)
    FillLogprobs(row, request, best, scratch.chunk_raw_sum + r * chunks, &count, result,
                 reinterpret_cast<TopLogprob*>(out + sizeof(SampleResult)));
  if (threadIdx.x != 0) return;
  *reinterpret_cast<SampleResult*>(out) = result;
  if (params.tokens != nullptr) params.tokens[r] = result.token;
}

}  // namespace weft::ops::cuda::sampling
