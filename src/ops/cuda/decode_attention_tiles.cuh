#pragma once

#include <cuda_bf16.h>

#include "ops/cuda/attention_work.h"
#include "ops/cuda/shared_barriers.cuh"
#include "ops/cuda/tensor_core.cuh"

// What a warp of decode_attention.cu does: it brings tiles of K and V to shared memory and lets its
// queries look at them.

namespace weft::ops::cuda::decoding {

constexpr int kNarrowWarps = 4;
constexpr int kWideWarps = kNarrowDecodeBlocks * kNarrowWarps;
/// Tokens that a warp takes at once: a tile of K and V, which lies in one page.
constexpr int kTile = 16;
/// Tiles of a warp in shared memory: one in use, the others on their way.
constexpr int kStages = 2;
/// Queries of a block: the columns of a tensor core's product.
constexpr int kQueries = 8;
static_assert(DecodeServes(128, kQueries) && !DecodeServes(128, kQueries + 1));
constexpr int kUnit = 16;  ///< Bytes of one copy.
constexpr float kLog2E = 1.44269504088896341F;

/// Whether rows of K and V come whole, by bulk copies: on Hopper, in narrow blocks. There 32
/// sequences of 1,024 tokens take 4 us less a layer; wide blocks do not gain. The host reckons with
/// the padding of whole rows everywhere.
template <int kWarps>
constexpr bool kMayBeWhole = kWarps == kNarrowWarps;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
template <int kWarps>
constexpr bool kWholeRows = false;
#else
template <int kWarps>
constexpr bool kWholeRows = kMayBeWhole<kWarps>;
#endif

template <int kHeadDim>
constexpr int kStepsOf = kHeadDim / 16;  ///< Of the tensor core, along a row.

/// Tiles in shared memory. Eight rows' units of one column meet different banks: whole rows are
/// apart by a unit more than they are long, copied units change places within their row.
template <int kHeadDim, bool kWhole>
struct Shape {
  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kRowStride = kRowBytes + (kWhole ? kUnit : 0);
  static constexpr int kTileBytes = kTile * kRowStride;
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;

  __device__ static uint32_t UnitAt(uint32_t tile, int row, int unit) {
    return tile +
           static_cast<uint32_t>(row * kRowStride + (kWhole ? unit : unit ^ (row & 7)) * kUnit);
  }
};

/// Copies 16 bytes in the background; zeros when not `there`, and then reads nothing.
__device__ inline void CopyUnit(uint32_t to, const void* from, bool there) {
  const int bytes = there ? kUnit : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(bytes));
}

__device__ inline void LoadMatrices(uint32_t (&out)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}
__device__ inline void LoadTransposed(uint32_t (&out)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}
__device__ inline uint32_t Transpose(uint32_t matrix) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(matrix));
  return out;
}
/// c [16, 8] += a [16, 16] * b [16, 8].
__device__ inline void MultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                   uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// A part of one sequence for one kv head.
struct Part {
  int sequence;
  int index;
  int count;  ///< Parts of the sequence.
  int begin;  ///< Tokens.
  int end;
};

/// Brings tokens [first, first + kTile) of K and V on their way; zeros at and past the part's end.
/// Whole rows: a lane brings one, and the phase of `full` ends when all are there.
template <int kHeadDim, bool kWhole>
__device__ inline void FetchTile(const AttentionWork& work, const Part& part, int first, int page,
                                 int64_t head_offset, uint32_t stage, uint64_t* full) {
  using S = Shape<kHeadDim, kWhole>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t stride = int64_t{work.kv_heads} * kHeadDim;
  const int64_t base =
      page * work.page_stride + (first % work.tokens_per_page) * stride + head_offset;
  const auto* keys = static_cast<const __nv_bfloat16*>(work.keys) + base;
  const auto* values = static_cast<const __nv_bfloat16*>(work.values) + base;
  if constexpr (kWhole) {
#if __CUDA_ARCH__ >= 900
    static_assert(2 * kTile == kWarp);
    const int row = lane % kTile;
    const int tokens = min(kTile, part.end - first);
    const uint32_t to =
        S::UnitAt(stage + static_cast<uint32_t>(lane / kTile * S::kTileBytes), row, 0);
    if (lane == 0) ArriveAndExpect(full, 2 * tokens * S::kRowBytes);
    if (row < tokens) {
      CopyBulk(to, (lane < kTile ? keys : values) + row * stride, S::kRowBytes, full);
    } else {
      for (uint32_t at = to; at < to + S::kRowBytes; at += kUnit)
        asm volatile("st.shared.v4.b32 [%0], {0, 0, 0, 0};" ::"r"(at) : "memory");
    }
#endif
  } else {
    constexpr int kUnitsPerRow = S::kRowBytes / kUnit;
#pragma unroll
    for (int i = lane; i < kTile * kUnitsPerRow; i += kWarp) {
      const int row = i / kUnitsPerRow;
      const int unit = i % kUnitsPerRow;
      const int64_t at = row * stride + unit * (kUnit / 2);
      const bool there = first + row < part.end;
      CopyUnit(S::UnitAt(stage, row, unit), keys + at, there);
      CopyUnit(S::UnitAt(stage + S::kTileBytes, row, unit), values + at, there);
    }
  }
}

/// What a warp carries. A thread's numbers are for queries 2 * (lane % 4) and the next.
template <int kHeadDim>
struct State {
  float max[2] = {-INFINITY, -INFINITY};  ///< In units of log2.
  float sum[2] = {};                      ///< Of this thread's tokens.
  float out[kStepsOf<kHeadDim>][4] = {};
};

/// Scores of a tile as [token, query], weights, and out += V^T weights.
template <int kHeadDim, bool kWhole>
__device__ inline void UseTile(uint32_t stage, const uint32_t (&query)[kStepsOf<kHeadDim>][2],
                               int tokens, float scale, State<kHeadDim>& state) {
  using S = Shape<kHeadDim, kWhole>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // All loads go out before the first product: a warp has nobody to hide their latency.
  uint32_t keys[kStepsOf<kHeadDim>][4];
  uint32_t values[kStepsOf<kHeadDim>][4];
#pragma unroll
  for (int step = 0; step < kStepsOf<kHeadDim>; ++step)
    LoadMatrices(keys[step], S::UnitAt(stage, lane % 16, step * 2 + lane / 16));
#pragma unroll
  for (int step = 0; step < kStepsOf<kHeadDim>; ++step)
    LoadTransposed(values[step], S::UnitAt(stage + S::kTileBytes, lane % 8 + lane / 16 * 8,
                                           step * 2 + lane / 8 % 2));
  float score[4] = {};
  float odd[4] = {};
#pragma unroll
  for (int step = 0; step < kStepsOf<kHeadDim>; step += 2) {
    MultiplyAdd(score, keys[step], query[step][0], query[step][1]);
    MultiplyAdd(odd, keys[step + 1], query[step + 1][0], query[step + 1][1]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) score[i] += odd[i];
  const int token = lane / 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) score[i] = token + i / 2 * 8 < tokens ? score[i] * scale : -INFINITY;
  float weight[4];
  float correction[2];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    float max = fmaxf(score[q], score[q + 2]);
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2)
      max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, offset));
    max = fmaxf(max, state.max[q]);
    correction[q] = Exp2(state.max[q] - max);
    state.max[q] = max;
    weight[q] = Exp2(score[q] - max);
    weight[q + 2] = Exp2(score[q + 2] - max);
    state.sum[q] = state.sum[q] * correction[q] + weight[q] + weight[q + 2];
  }
  const uint32_t b0 = Transpose(PackBf16(weight[0], weight[1]));
  const uint32_t b1 = Transpose(PackBf16(weight[2], weight[3]));
#pragma unroll
  for (int step = 0; step < kStepsOf<kHeadDim>; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.out[step][i] *= correction[i % 2];
    MultiplyAdd(state.out[step], values[step], b0, b1);
  }
}

/// A warp's tiles of a part, on their way and in shared memory: warps take turns.
template <int kHeadDim, int kWarps>
class Tiles {
  static constexpr bool kWhole = kWholeRows<kWarps>;
  using S = Shape<kHeadDim, kWhole>;

 public:
  /// `full`: this warp's barriers, one for each stage, if rows come whole.
  __device__ Tiles(const AttentionWork& work, const Part& part, int kv_head, uint32_t shared,
                   uint64_t* full)
      : work_(work),
        part_(part),
        pages_(work.pages + work.page_begin[part.sequence]),
        head_offset_(int64_t{kv_head} * kHeadDim),
        stages_(shared + static_cast<uint32_t>(Warp() * S::kWarpBytes)),
        full_(full),
        fetch_(part.begin + Warp() * kTile) {
    if (fetch_ < part.end) page_ = pages_[fetch_ / work.tokens_per_page];
    if constexpr (kWhole) {
      if (threadIdx.x % kWarp == 0) {
        for (int stage = 0; stage < kStages; ++stage) InitBarrier(&full_[stage], 1);
        BarriersAreReady();
      }
      __syncwarp();
    }
  }

  /// Sends for the first tiles, as many as there is room for.
  __device__ void Begin() {
    for (int stage = 0; stage < kStages; ++stage) Fetch(stage);
  }

  __device__ void Use(const uint32_t (&query)[kStepsOf<kHeadDim>][2], State<kHeadDim>& state) {
    int stage = 0;
    int parity = 0;
    for (int first = part_.begin + Warp() * kTile; first < part_.end; first += kStride) {
      AwaitTile(stage, parity);
      UseTile<kHeadDim, kWhole>(StageAddress(stage), query, part_.end - first, work_.scale * kLog2E,
                                state);
      __syncwarp();
      Fetch(stage);
      stage = stage + 1 == kStages ? 0 : stage + 1;
      if (stage == 0) parity ^= 1;
    }
    if constexpr (!kWhole) asm volatile("cp.async.wait_group 0;");
  }

 private:
  static constexpr int kStride = kWarps * kTile;

  __device__ static int Warp() { return static_cast<int>(threadIdx.x) / kWarp; }
  __device__ uint32_t StageAddress(int stage) const {
    return stages_ + static_cast<uint32_t>(stage * 2 * S::kTileBytes);
  }
  /// The next tile, if there is one.
  __device__ void Fetch(int stage) {
    if (fetch_ < part_.end) {
      FetchTile<kHeadDim, kWhole>(work_, part_, fetch_, page_, head_offset_, StageAddress(stage),
                                  &full_[stage]);
      fetch_ += kStride;
      if (fetch_ < part_.end) page_ = pages_[fetch_ / work_.tokens_per_page];
    }
    if constexpr (!kWhole) asm volatile("cp.async.commit_group;");
  }
  __device__ void AwaitTile(int stage, int parity) {
    if constexpr (kWhole)
      Wait(&full_[stage], parity);
    else
      asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1));
    __syncwarp();
  }

  const AttentionWork& work_;
  const Part& part_;
  const int32_t* const pages_;
  const int64_t head_offset_;
  const uint32_t stages_;
  uint64_t* const full_;
  int fetch_;
  int page_ = 0;
};

}  // namespace weft::ops::cuda::decoding
