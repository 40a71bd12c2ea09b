#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "ops/cuda/elements.cuh"
#include "ops/cuda/few_rows_plan.h"
#include "ops/cuda/lora_device.cuh"
#include "ops/cuda/tensor_map.h"

// The product of few rows of h with a weight that is read once. One warp, the feeder, sends boxes
// of the weight and of h through a ring of stages in shared memory without pause; eight more
// multiply. The weight depends on no kernel before, so the ring fills while that one still runs.

namespace weft::ops::cuda {

constexpr int kProductWarps = 8;
constexpr int kProductMultipliers = kProductWarps * kWarp;
constexpr int kProductThreads = kProductMultipliers + kWarp;
/// Warps that take a stage together where warps take them in turns.
constexpr int kTeamWarps = kProductWarps / kFewRowsTeams;

template <int kRingBytes>
struct ProductShared {
  alignas(kBoxAlignment) std::byte ring[kRingBytes];
  uint64_t full[kMostFewRowsStages];
  uint64_t empty[kMostFewRowsStages];
};

/// kRowTiles: of 8 rows, as many as the plan's box_rows has.
template <int kRowTiles, int kRingBytes>
class FewRowsProduct {
  static constexpr int kRows = kRowTiles * kFewRowsTile;
  static constexpr int kSteps = 4;    ///< Of the matrix unit, 16 columns each, in a box.
  static constexpr int kPadding = 4;  ///< Behind a row of sums, against bank conflicts.
  static_assert(kProductWarps * kRows * (4 * kUnitOuts + kPadding) * 4 <= kRingBytes);

 public:
  using Shared = ProductShared<kRingBytes>;

  /// By one thread, which then calls BarriersAreReady, before the block synchronises.
  __device__ static void InitBarriers(const FewRowsPlan& plan, Shared& shared) {
    for (int stage = 0; stage < kMostFewRowsStages; ++stage) {
      InitBarrier(&shared.full[stage], 1);
      InitBarrier(&shared.empty[stage],
                  (plan.own_units ? kProductWarps : kTeamWarps) * kWarpArrivals);
    }
  }

  /// `thread`: among the product's; the last warp feeds.
  __device__ FewRowsProduct(const FewRowsParams& params, Shared& shared, int thread)
      : params_(params),
        plan_(params.plan),
        shared_(shared),
        warp_(thread / kWarp),
        lane_(thread % kWarp),
        first_unit_(static_cast<int>(blockIdx.x) * plan_.units * plan_.passes),
        weight_box_(plan_.units * kUnitOuts * kMapRowBytes),
        rows_box_(plan_.box_rows * kMapRowBytes),
        stage_bytes_((weight_box_ + rows_box_) * plan_.boxes) {}

  __device__ void Run() {
    if (warp_ == kProductWarps) {
      if (lane_ == 0) Feed();
      return;
    }
    AdmitKernelBehind();
    AwaitKernelBefore();
    if (plan_.own_units)
      RunOwnUnits();
    else
      RunInTurns();
  }

 private:
  __device__ int Passes() const {
    const int left = params_.product.out / kUnitOuts - first_unit_;
    return max(0, min(plan_.passes, (left + plan_.units - 1) / plan_.units));
  }
  __device__ int StagesOfPass() const {
    const int columns = plan_.boxes * kMapColumns;
    return (params_.product.in + columns - 1) / columns;
  }

  /// A place in the ring.
  struct Place {
    int stage = 0;
    int parity = 0;
  };
  /// `by`: at most as many as the ring has.
  __device__ void Advance(Place& place, int by) const {
    place.stage += by;
    if (place.stage < plan_.stages) return;
    place.stage -= plan_.stages;
    place.parity ^= 1;
  }

  /// What a stage is filled with.
  struct Part {
    int out;
    int box = 0;  ///< Of columns.
  };
  __device__ void Advance(Part& part) const {
    part.box += plan_.boxes;
    if (part.box * kMapColumns < params_.product.in) return;
    part.box = 0;
    part.out += plan_.units * kUnitOuts;
  }

  __device__ void Feed() const {
    const int all = Passes() * StagesOfPass();
    const int ahead = min(plan_.stages, all);
    Part part{first_unit_ * kUnitOuts};
    for (int stage = 0; stage < ahead; ++stage, Advance(part)) {
      Expect(stage);
      CopyWeight(part, stage);
    }
    AwaitKernelBefore();
    part = {first_unit_ * kUnitOuts};
    for (int stage = 0; stage < ahead; ++stage, Advance(part)) CopyRows(part, stage);
    Place place{.stage = 0, .parity = 1};  // The second time around.
    for (int i = ahead; i < all; ++i, Advance(part), Advance(place, 1)) {
      Wait(&shared_.empty[place.stage], place.parity ^ 1);
      Expect(place.stage);
      CopyWeight(part, place.stage);
      CopyRows(part, place.stage);
    }
  }

  __device__ void Expect(int stage) const {
#if __CUDA_ARCH__ >= 900  // Elsewhere FewRowsServes is false.
    ArriveAndExpect(&shared_.full[stage], stage_bytes_);
#endif
  }
  __device__ void CopyWeight(const Part& part, int stage) const {
#if __CUDA_ARCH__ >= 900
    CopyBoxOnce(StageAddress(stage), &params_.weight, part.out, part.box, &shared_.full[stage]);
#endif
  }
  __device__ void CopyRows(const Part& part, int stage) const {
#if __CUDA_ARCH__ >= 900
    const uint32_t to = StageAddress(stage) + weight_box_ * plan_.boxes;
    CopyBox(to, &params_.h, 0, part.box, &shared_.full[stage]);
#endif
  }
  __device__ uint32_t StageAddress(int stage) const {
    return SharedAddress(shared_.ring) + stage * stage_bytes_;
  }

  template <int kUnits>
  using Sums = float[kUnits][kRowTiles][4];

  /// Four neighbouring outputs of a row.
  struct Quad {
    int row;
    int out;
  };
  /// Of a thread, where the outputs of `kUnits` units of all rows are shared out.
  template <int kUnits>
  static constexpr int kQuadsOf =
      (kRows * kUnits * kUnitOuts / 4 + kProductMultipliers - 1) / kProductMultipliers;
  template <int kUnits>
  __device__ Quad QuadOf(int i) const {
    constexpr int kQuads = kUnits * kUnitOuts / 4;
    const int number = i * kProductMultipliers + warp_ * kWarp + lane_;
    return {number / kQuads, first_unit_ * kUnitOuts + number % kQuads * 4};
  }
  __device__ bool IsThere(const Quad& quad) const {
    return quad.row < params_.product.rows && quad.out < params_.product.out;
  }

  /// What is added to a quad's sums.
  __device__ float4 LoadQuad(const Quad& quad) const {
    const GemmParams& product = params_.product;
    if (product.c == nullptr || !IsThere(quad)) return {};
    const int64_t at = quad.row * product.d_stride + quad.out;
    if (product.out_dtype == DType::kFloat32)
      return *reinterpret_cast<const float4*>(static_cast<const float*>(product.c) + at);
    const uint2 two =
        *reinterpret_cast<const uint2*>(static_cast<const __nv_bfloat16*>(product.c) + at);
    const float2 low = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(two.x));
    const float2 high = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(two.y));
    return {low.x, low.y, high.x, high.y};
  }

  __device__ void StoreQuad(const Quad& quad, const float4& sum) const {
    const GemmParams& product = params_.product;
    const int64_t at = quad.row * product.d_stride + quad.out;
    if (product.out_dtype == DType::kFloat32)
      *reinterpret_cast<float4*>(static_cast<float*>(product.d) + at) = sum;
    else
      *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(product.d) + at) = {
          PackBf16(sum.x, sum.y), PackBf16(sum.z, sum.w)};
  }

  __device__ void RunOwnUnits() {
    for (int pass = 0; pass < Passes(); ++pass) {
      const int first = first_unit_ + pass * plan_.units;
      if (plan_.units > kProductWarps)
        MultiplyOwnUnits<2>(first);
      else
        MultiplyOwnUnits<1>(first);
    }
  }

  __device__ void RunInTurns() {
    if (Passes() == 0) return;
    switch (plan_.units) {
      case 1:
        return MultiplyInTurns<1>();
      case 2:
        return MultiplyInTurns<2>();
      case 3:
        return MultiplyInTurns<3>();
      default:
        return MultiplyInTurns<4>();
    }
  }

  /// This warp's units of those from `first`: warp_ and, if kUnits is 2, kProductWarps further.
  template <int kUnits>
  __device__ void MultiplyOwnUnits(int first) {
    Sums<kUnits> sums = {};
    // Where there are fewer, the last once more.
    const int unit = min(warp_, plan_.units - 1);
    const int step = min(kProductWarps, plan_.units - 1 - unit);
    const int stages = StagesOfPass();
    for (int i = 0; i < stages; ++i) {
      Wait(&shared_.full[place_.stage], place_.parity);
      MultiplyStage<kUnits, 1>(unit, step, sums);
      ArriveAsWarp(&shared_.empty[place_.stage]);
      Advance(place_, 1);
    }
    StoreOwn<kUnits>(first, sums);
  }

  template <int kUnits>
  __device__ void MultiplyInTurns() {
    float4 added[kQuadsOf<kUnits>];
#pragma unroll
    for (int i = 0; i < kQuadsOf<kUnits>; ++i) added[i] = LoadQuad(QuadOf<kUnits>(i));
    Sums<kUnits> sums = {};
    const int team = warp_ / kTeamWarps;
    Advance(place_, team);
    const int stages = StagesOfPass();
    for (int i = team; i < stages; i += kFewRowsTeams) {
      Wait(&shared_.full[place_.stage], place_.parity);
      MultiplyStage<kUnits, kTeamWarps>(0, 1, sums);
      ArriveAsWarp(&shared_.empty[place_.stage]);
      Advance(place_, kFewRowsTeams);
    }
    StoreTogether<kUnits>(sums, added);
  }

  /// kShares: of the columns, of which this warp takes one.
  template <int kUnits, int kShares>
  __device__ void MultiplyStage(int first_unit, int unit_step, Sums<kUnits>& sums) const {
    // LoadMatrices reads four matrices of 8 x 8; the lane names row `swizzle` of number `matrix`.
    const int swizzle = lane_ % 8;
    const int matrix = lane_ / 8;
    uint32_t weights = StageAddress(place_.stage) +
                       (first_unit * kUnitOuts + matrix % 2 * 8 + swizzle) * kMapRowBytes;
    uint32_t rows = StageAddress(place_.stage) + weight_box_ * plan_.boxes + swizzle * kMapRowBytes;
    for (int box = 0; box < plan_.boxes; ++box) {
#pragma unroll
      for (int turn = 0; turn < kSteps / kShares; ++turn) {
        const int step = turn * kShares + warp_ % kShares;
        uint2 x[kRowTiles];
        LoadRows(rows, step, x);
        const uint32_t at = weights + ((step * 2 + matrix / 2) ^ swizzle) * 16;
#pragma unroll
        for (int i = 0; i < kUnits; ++i) {
          const uint4 a = LoadMatrices(at + i * unit_step * (kUnitOuts * kMapRowBytes));
#pragma unroll
          for (int tile = 0; tile < kRowTiles; ++tile)
            Multiply(sums[i][tile], a.x, a.y, a.z, a.w, x[tile].x, x[tile].y);
        }
      }
      weights += weight_box_;
      rows += rows_box_;
    }
  }

  /// h of 16 columns, as the matrix unit takes it.
  __device__ void LoadRows(uint32_t rows, int step, uint2 (&x)[kRowTiles]) const {
    const int matrix = lane_ / 8;
    const uint32_t at = rows + ((step * 2 + matrix % 2) ^ (lane_ % 8)) * 16;
#pragma unroll
    for (int tile = 0; tile + 1 < kRowTiles; tile += 2) {
      const uint4 both = LoadMatrices(at + (tile + matrix / 2) * kFewRowsTile * kMapRowBytes);
      x[tile] = {both.x, both.y};
      x[tile + 1] = {both.z, both.w};
    }
    if constexpr (kRowTiles % 2 == 1) {
      uint2& last = x[kRowTiles - 1];
      asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                   : "=r"(last.x), "=r"(last.y)
                   : "r"(at + (kRowTiles - 1) * kFewRowsTile * kMapRowBytes)
                   : "memory");
    }
  }

  template <int kUnits>
  __device__ void StoreOwn(int first, const Sums<kUnits>& sums) const {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const int unit = warp_ + i * kProductWarps;
      const int out = (first + unit) * kUnitOuts + lane_ / 4;
      if (unit >= plan_.units || out >= params_.product.out) break;
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          Store(tile * kFewRowsTile + lane_ % 4 * 2 + j % 2, out + j / 2 * 8, sums[i][tile][j]);
    }
  }

  /// Of the threads that multiply.
  __device__ static void Synchronise() {
    asm volatile("bar.sync 2, %0;" ::"n"(kProductMultipliers) : "memory");
  }

  /// In the ring, which is empty and stays so.
  template <int kUnits>
  __device__ void StoreTogether(const Sums<kUnits>& sums,
                                const float4 (&added)[kQuadsOf<kUnits>]) const {
    constexpr int kOuts = kUnits * kUnitOuts;
    constexpr int kStride = kOuts + kPadding;
    const int first = first_unit_ * kUnitOuts;
    auto* all = reinterpret_cast<float*>(shared_.ring);
    Synchronise();
    float* mine = all + (warp_ * kRows + lane_ % 4 * 2) * kStride + lane_ / 4;
#pragma unroll
    for (int i = 0; i < kUnits; ++i)
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          mine[(tile * kFewRowsTile + j % 2) * kStride + i * kUnitOuts + j / 2 * 8] =
              sums[i][tile][j];
    Synchronise();
#pragma unroll
    for (int i = 0; i < kQuadsOf<kUnits>; ++i) {
      const Quad quad = QuadOf<kUnits>(i);
      if (!IsThere(quad)) continue;
      float4 sum = added[i];
#pragma unroll
      for (int warp = 0; warp < kProductWarps; ++warp) {
        const auto& part = *reinterpret_cast<const float4*>(
            &all[(warp * kRows + quad.row) * kStride + quad.out - first]);
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
      }
      StoreQuad(quad, sum);
    }
  }

  __device__ void Store(int row, int out, float sum) const {
    const GemmParams& product = params_.product;
    if (row >= product.rows) return;
    const int64_t at = row * product.d_stride + out;
    if (product.out_dtype == DType::kFloat32) {
      if (product.c != nullptr) sum += static_cast<const float*>(product.c)[at];
      static_cast<float*>(product.d)[at] = sum;
    } else {
      if (product.c != nullptr) sum += ToFloat(static_cast<const __nv_bfloat16*>(product.c)[at]);
      static_cast<__nv_bfloat16*>(product.d)[at] = FromFloat<__nv_bfloat16>(sum);
    }
  }

  const FewRowsParams& params_;
  const FewRowsPlan& plan_;
  Shared& shared_;
  const int warp_;
  const int lane_;
  const int first_unit_;
  const int weight_box_;  ///< Bytes.
  const int rows_box_;
  const int stage_bytes_;
  Place place_;
};

/// launch(std::integral_constant) with the row tiles that so many rows take.
template <typename Launch>
auto WithRowTiles(int32_t rows, const Launch& launch) {
  switch ((rows + kFewRowsTile - 1) / kFewRowsTile) {
    case 1:
      return launch(std::integral_constant<int, 1>());
    case 2:
      return launch(std::integral_constant<int, 2>());
    case 3:
      return launch(std::integral_constant<int, 3>());
    default:
      return launch(std::integral_constant<int, kMostFewRows / kFewRowsTile>());
  }
}

}  // namespace weft::ops::cuda
