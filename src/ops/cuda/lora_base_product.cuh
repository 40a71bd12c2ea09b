#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/elements.cuh"
#include "ops/cuda/gemm_params.h"
#include "ops/cuda/lora_ring.cuh"

// The base model's product beside the adapters' part of a decode: few rows, a weight that is read
// once. A block takes tiles of outputs one after the other. One warp, the feeder, sends their
// weights through a ring of stages in shared memory without pause; eight more multiply, each its
// columns of a stage, and put a tile's sums together in their order. A lane takes eight
// neighbouring elements of two outputs at once, which serve as two of the matrix unit's operands as
// they are: it does not care which elements of a sum it meets first.

namespace weft::ops::cuda {

constexpr int kBaseWarps = 8;
constexpr int kBaseMultipliers = kBaseWarps * kWarp;
constexpr int kBaseThreads = kBaseMultipliers + kWarp;
constexpr int kBaseRowTile = 8;  ///< Rows of the matrix unit's other operand.
constexpr int kMostBaseRows = 2 * kBaseRowTile;
constexpr int kBaseChunk = 32;  ///< Columns that the lanes take at once.

/// kOutTiles: of 16 outputs, 1 or 2. kRowTiles: of 8 rows.
template <int kOutTiles, int kRowTiles>
class BaseProduct {
  static constexpr int kRows = kRowTiles * kBaseRowTile;
  static constexpr int kStages = 3;
  static constexpr int kChunks = 4 / kOutTiles;  ///< Of a warp in a stage.
  static constexpr int kColumns = kBaseWarps * kChunks * kBaseChunk;
  /// A stage's row, padded so that the lanes' loads meet different banks.
  static constexpr int kRowBytes = kColumns * 2 + 16;

 public:
  static constexpr int kOuts = 16 * kOutTiles;

  struct Shared {
    alignas(128) std::byte ring[kStages][kOuts * kRowBytes];
    float sums[kBaseWarps][kRows][kOuts + 1];
    uint64_t full[kStages];
    uint64_t empty[kStages];
  };

  /// By one thread, which then calls BarriersAreReady, before the block synchronises.
  __device__ static void InitBarriers(Shared& shared) {
    for (int stage = 0; stage < kStages; ++stage) {
      InitBarrier(&shared.full[stage], kWarp);
      InitBarrier(&shared.empty[stage], kBaseWarps * kWarpArrivals);
    }
  }

  /// `thread`: among the product's; the last warp feeds.
  __device__ BaseProduct(const GemmParams& params, Shared& shared, int thread)
      : params_(params),
        shared_(shared),
        warp_(thread / kWarp),
        lane_(thread % kWarp),
        tiles_(params.out / kOuts) {}

  __device__ void Run() {
    if (warp_ == kBaseWarps) {
      Feed();
      return;
    }
    AdmitKernelBehind();
    AwaitKernelBefore();
    MultiplyTiles();
  }

 private:
  /// Sends for the weights, which depend on no kernel before.
  __device__ void Feed() {
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles_;
         tile += static_cast<int>(gridDim.x))
      for (int first = 0; first < params_.in; first += kColumns) {
        Wait(&shared_.empty[place_.stage], place_.parity ^ 1);
        FeedStage(tile, first);
        place_.Advance();
      }
  }

  __device__ void MultiplyTiles() {
    Rows coming;
    LoadRows(FirstColumn(0, 0), coming);
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles_;
         tile += static_cast<int>(gridDim.x)) {
      for (int first = 0; first < params_.in; first += kColumns) {
        Wait(&shared_.full[place_.stage], place_.parity);
        MultiplyStage(first, coming);
        ArriveAsWarp(&shared_.empty[place_.stage]);
        place_.Advance();
      }
      Finish(tile);
    }
  }

  /// A lane's part of h of a chunk.
  struct Rows {
    uint4 x[kRowTiles];
  };

  __device__ int FirstColumn(int first, int chunk) const {
    return first + (warp_ * kChunks + chunk) * kBaseChunk;
  }

  __device__ void FeedStage(int tile, int first) {
#if __CUDA_ARCH__ >= 900  // Elsewhere RunsWithLora is false.
    const int bytes = min(kColumns, params_.in - first) * 2;
    const uint32_t full = SharedAddress(&shared_.full[place_.stage]);
    if (lane_ == 0)
      asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(full),
                   "r"(bytes * kOuts)
                   : "memory");
    __syncwarp();
    if (lane_ < kOuts)
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
          "[%3];" ::"r"(SharedAddress(shared_.ring[place_.stage]) + lane_ * kRowBytes),
          "l"(static_cast<const __nv_bfloat16*>(params_.weight) +
              int64_t{tile * kOuts + lane_} * params_.in + first),
          "r"(bytes), "r"(full)
          : "memory");
    Arrive(&shared_.full[place_.stage]);
#endif
  }

  __device__ void LoadRows(int column, Rows& rows) const {
    const auto* h = static_cast<const __nv_bfloat16*>(params_.h) + column + lane_ % 4 * 8;
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      const int row = tile * kBaseRowTile + lane_ / 4;
      rows.x[tile] = make_uint4(0, 0, 0, 0);
      if (row < params_.rows && column < params_.in)
        rows.x[tile] = *reinterpret_cast<const uint4*>(h + row * params_.h_stride);
    }
  }

  /// `coming`: of the stage's first chunk; then of the next stage's.
  __device__ void MultiplyStage(int first, Rows& coming) {
    const std::byte* from = shared_.ring[place_.stage] + lane_ / 4 * kRowBytes +
                            (warp_ * kChunks * kBaseChunk + lane_ % 4 * 8) * 2;
    const int next = first + kColumns < params_.in ? first + kColumns : 0;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const Rows rows = coming;
      LoadRows(chunk + 1 < kChunks ? FirstColumn(first, chunk + 1) : FirstColumn(next, 0), coming);
      if (FirstColumn(first, chunk) >= params_.in) continue;
#pragma unroll
      for (int out = 0; out < kOutTiles; ++out) {
        const std::byte* at = from + out * 16 * kRowBytes + chunk * kBaseChunk * 2;
        const uint4 low = *reinterpret_cast<const uint4*>(at);
        const uint4 high = *reinterpret_cast<const uint4*>(at + 8 * kRowBytes);
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          const uint4& x = rows.x[tile];
          Multiply(sums_[out][tile], low.x, high.x, low.y, high.y, x.x, x.y);
          Multiply(sums_[out][tile], low.z, high.z, low.w, high.w, x.z, x.w);
        }
      }
    }
  }

  /// Of the threads that multiply.
  __device__ static void Synchronise() {
    asm volatile("bar.sync 2, %0;" ::"n"(kBaseMultipliers) : "memory");
  }

  __device__ void Finish(int tile) {
#pragma unroll
    for (int out = 0; out < kOutTiles; ++out)
#pragma unroll
      for (int t = 0; t < kRowTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          shared_.sums[warp_][t * kBaseRowTile + lane_ % 4 * 2 + i % 2]
                      [out * 16 + lane_ / 4 + i / 2 * 8] = sums_[out][t][i];
          sums_[out][t][i] = 0.0F;
        }
    Synchronise();
    for (int i = warp_ * kWarp + lane_; i < params_.rows * kOuts; i += kBaseMultipliers) {
      const int row = i / kOuts;
      const int out = i % kOuts;
      float sum = 0.0F;
#pragma unroll
      for (int warp = 0; warp < kBaseWarps; ++warp) sum += shared_.sums[warp][row][out];
      Store(row * params_.d_stride + tile * kOuts + out, sum);
    }
    Synchronise();  // Nobody reads the sums any more.
  }

  __device__ void Store(int64_t at, float sum) const {
    if (params_.out_dtype == DType::kFloat32) {
      if (params_.c != nullptr) sum += static_cast<const float*>(params_.c)[at];
      static_cast<float*>(params_.d)[at] = sum;
    } else {
      if (params_.c != nullptr) sum += ToFloat(static_cast<const __nv_bfloat16*>(params_.c)[at]);
      static_cast<__nv_bfloat16*>(params_.d)[at] = FromFloat<__nv_bfloat16>(sum);
    }
  }

  const GemmParams& params_;
  Shared& shared_;
  const int warp_;
  const int lane_;
  const int tiles_;
  RingPlace<kStages> place_;
  float sums_[kOutTiles][kRowTiles][4] = {};
};

}  // namespace weft::ops::cuda
