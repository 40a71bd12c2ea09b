#pragma once

#include <cuda_bf16.h>

#include "ops/cuda/attention_work.h"
#include "ops/cuda/shared_barriers.cuh"
#include "ops/cuda/tensor_core.cuh"
#include "ops/cuda/tensor_map.h"

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
constexpr int kUnit = 16;  ///< Bytes of a row of ldmatrix's.
constexpr float kLog2E = 1.44269504088896341F;

/// Whether K and V of a tile come as a box each: on Hopper. Before, a lane copies units.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr bool kInBoxes = false;
#else
constexpr bool kInBoxes = true;
#endif

/// What the kernel takes. A row is a token's K or V of one kv head; they are counted from the
/// layer's first of K in page 0.
struct DecodeParams {
  AttentionWork work;
  int32_t page_rows = 0;  ///< From a page's to the next one's.
  int32_t value_row = 0;  ///< From a token's K to its V.
  CUtensorMap rows;       ///< In boxes of a tile, on Hopper.
};

template <int kHeadDim>
constexpr int kStepsOf = kHeadDim / 16;  ///< Of the tensor core, along a row.

/// Tiles in shared memory, as boxes of tensor_map.h lie there: eight rows' units of one column meet
/// different banks.
template <int kHeadDim>
struct Shape {
  static constexpr int kUnits = kHeadDim * 2 / kUnit;  ///< Of a row.
  static constexpr int kTileBytes = kTile * kUnits * kUnit;
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;
  static_assert(kTileBytes % kBoxAlignment == 0);

  __device__ static uint32_t UnitAt(uint32_t tile, int row, int unit) {
    constexpr int kAcross = kMapRowBytes / kUnit;
    return tile + static_cast<uint32_t>((unit / kAcross * kTile + row) * kMapRowBytes +
                                        (unit % kAcross ^ row % 8) * kUnit);
  }
};

/// Copies 16 bytes in the background.
__device__ inline void CopyUnit(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from));
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

/// Brings a tile on its way, whose K and V begin at these rows. On Hopper the phase of `full` ends
/// when it is there.
template <int kHeadDim>
__device__ inline void FetchTile(const DecodeParams& params, int keys, int values, uint32_t stage,
                                 uint64_t* full) {
  using S = Shape<kHeadDim>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#if __CUDA_ARCH__ >= 900
  if (lane != 0) return;
  ArriveAndExpect(full, 2 * S::kTileBytes);
  CopyBoxOnce(stage, &params.rows, keys, 0, full);
  CopyBoxOnce(stage + S::kTileBytes, &params.rows, values, 0, full);
#else
  constexpr int kRowBytes = S::kUnits * kUnit;
  const auto* from = static_cast<const std::byte*>(params.work.keys) + int64_t{keys} * kRowBytes;
  const int64_t to_values = int64_t{values - keys} * kRowBytes;
#pragma unroll
  for (int i = lane; i < kTile * S::kUnits; i += kWarp) {
    const uint32_t to = S::UnitAt(stage, i / S::kUnits, i % S::kUnits);
    CopyUnit(to, from + i * kUnit);
    CopyUnit(to + S::kTileBytes, from + to_values + i * kUnit);
  }
#endif
}

/// Past a sequence's tokens V may be anything, and its weight of zero would not hide a NaN.
template <int kHeadDim>
__device__ inline void ClearValuesFrom(int token, uint32_t stage) {
  using S = Shape<kHeadDim>;
  for (int i = token * S::kUnits + static_cast<int>(threadIdx.x) % kWarp; i < kTile * S::kUnits;
       i += kWarp)
    asm volatile("st.shared.v4.b32 [%0], {0, 0, 0, 0};" ::"r"(
                     S::UnitAt(stage + S::kTileBytes, i / S::kUnits, i % S::kUnits))
                 : "memory");
  __syncwarp();
}

/// What a warp carries. A thread's numbers are for queries 2 * (lane % 4) and the next.
template <int kHeadDim>
struct State {
  float max[2] = {-INFINITY, -INFINITY};  ///< In units of log2.
  float sum[2] = {};                      ///< Of this thread's tokens.
  float out[kStepsOf<kHeadDim>][4] = {};
};

/// Scores of a tile as [token, query], weights, and out += V^T weights.
template <int kHeadDim>
__device__ inline void UseTile(uint32_t stage, const uint32_t (&query)[kStepsOf<kHeadDim>][2],
                               int tokens, float scale, State<kHeadDim>& state) {
  using S = Shape<kHeadDim>;
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
  using S = Shape<kHeadDim>;

 public:
  /// `full`: this warp's barriers, one for each stage, for boxes.
  __device__ Tiles(const DecodeParams& params, const Part& part, int kv_head, uint32_t shared,
                   uint64_t* full)
      : params_(params),
        part_(part),
        pages_(params.work.pages + params.work.page_begin[part.sequence]),
        head_row_(kv_head * params.work.tokens_per_page),
        stages_(shared + static_cast<uint32_t>(Warp() * S::kWarpBytes)),
        full_(full),
        fetch_(part.begin + Warp() * kTile) {
    FindPage();
    if constexpr (kInBoxes) {
      if (threadIdx.x % kWarp == 0) {
        PrefetchMap(&params.rows);
        for (int stage = 0; stage < kStages; ++stage) InitBarrier(&full_[stage], 1);
        BarriersAreReady();
      }
      __syncwarp();
    }
  }

  /// Sends for the first tiles, as many as there is room for: those before the one of `token`.
  __device__ void BeginBefore(int token) {
    for (; begun_ < kStages && fetch_ + kTile <= token; ++begun_) Fetch(begun_);
  }
  /// The others of them.
  __device__ void Begin() {
    for (; begun_ < kStages; ++begun_) Fetch(begun_);
  }

  __device__ void Use(const uint32_t (&query)[kStepsOf<kHeadDim>][2], State<kHeadDim>& state) {
    int stage = 0;
    int parity = 0;
    for (int first = part_.begin + Warp() * kTile; first < part_.end; first += kStride) {
      AwaitTile(stage, parity);
      const int tokens = part_.end - first;
      if (tokens < kTile) ClearValuesFrom<kHeadDim>(tokens, StageAddress(stage));
      UseTile<kHeadDim>(StageAddress(stage), query, tokens, params_.work.scale * kLog2E, state);
      __syncwarp();
      Fetch(stage);
      stage = stage + 1 == kStages ? 0 : stage + 1;
      if (stage == 0) parity ^= 1;
    }
    if constexpr (!kInBoxes) asm volatile("cp.async.wait_group 0;");
  }

 private:
  static constexpr int kStride = kWarps * kTile;

  __device__ static int Warp() { return static_cast<int>(threadIdx.x) / kWarp; }
  __device__ uint32_t StageAddress(int stage) const {
    return stages_ + static_cast<uint32_t>(stage * 2 * S::kTileBytes);
  }
  /// Of the next tile, ahead of its fetch.
  __device__ void FindPage() {
    if (fetch_ < part_.end) page_ = pages_[fetch_ / params_.work.tokens_per_page];
  }
  /// The next tile, if there is one.
  __device__ void Fetch(int stage) {
    if (fetch_ < part_.end) {
      const int keys =
          page_ * params_.page_rows + head_row_ + fetch_ % params_.work.tokens_per_page;
      FetchTile<kHeadDim>(params_, keys, keys + params_.value_row, StageAddress(stage),
                          &full_[stage]);
      fetch_ += kStride;
      FindPage();
    }
    if constexpr (!kInBoxes) asm volatile("cp.async.commit_group;");
  }
  __device__ void AwaitTile(int stage, int parity) {
    if constexpr (kInBoxes)
      Wait(&full_[stage], parity);
    else
      asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1));
    __syncwarp();
  }

  const DecodeParams& params_;
  const Part& part_;
  const int32_t* const pages_;
  const int head_row_;  ///< In a page.
  const uint32_t stages_;
  uint64_t* const full_;
  int fetch_;
  int page_ = 0;
  int begun_ = 0;  ///< Of the stages.
};

}  // namespace weft::ops::cuda::decoding
