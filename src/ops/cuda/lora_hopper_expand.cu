#include "ops/cuda/lora_hopper.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

constexpr LoraWork kWork = LoraWork::kPrefillExpand;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// Slabs of sums (128 rows by eight rank tiles), and of weights (128 outputs by as many).
constexpr int kSumSlabs = 2;
constexpr int kWeightSlabs = 4;
static_assert(kSumSlabs + kWeightSlabs == kSlabs);
constexpr int kSlabTiles = 8;
constexpr int kSide = 128;

/// 128 rows by kPrefillOut outputs of one projection, in sides of 128 outputs, in passes of eight
/// rank tiles.
struct Tile {
  int first_row;
  int first_out;
  int out;     ///< Of the projection.
  int passes;  ///< At least one: a module without tiles has products that are zero.
  int sides;
};

__device__ Tile TileOf(const LoraParams& params, const LoraUnit& found) {
  Tile tile;
  tile.out = params.delta[found.entry.index].out;
  const int ranges = (tile.out + kPrefillOut - 1) / kPrefillOut;
  tile.first_row = found.unit / ranges * kPrefillRows;
  tile.first_out = found.unit % ranges * kPrefillOut;
  tile.passes = max(1, (found.module.tiles + kSlabTiles - 1) / kSlabTiles);
  tile.sides = (min(kPrefillOut, tile.out - tile.first_out) + kSide - 1) / kSide;
  return tile;
}

/// Which sums a slab has: they stay while the rows do, if one pass takes them all.
struct SumsKey {
  int number = -1;
  int first_row = 0;
  int pass = 0;

  __device__ bool operator==(const SumsKey& other) const {
    return number == other.number && first_row == other.first_row && pass == other.pass;
  }
};

struct Barriers {
  uint64_t full_sums[kSumSlabs];
  uint64_t empty_sums[kSumSlabs];
  uint64_t full_weights[kWeightSlabs];
  uint64_t empty_weights[kWeightSlabs];
};

/// In which row of its slab an output lies, so that a thread's sums are of eight neighbours.
__device__ int LineOfOut(int out) {
  return out / 32 * 32 + out / 2 % 4 * 8 + out / 8 % 4 * 2 + out % 2;
}

/// The warpgroup that copies: a thread has one half of a rank tile of every 64th row.
class Copier {
 public:
  __device__ Copier(const LoraParams& params, uint32_t slabs, Barriers& barriers)
      : params_(params), slabs_(slabs), barriers_(barriers) {}

  __device__ void Run() {
    for (LoraCursor cursor = ReadStart<kWork>(params_); cursor.left > 0;
         Advance<kWork>(params_, cursor)) {
      const LoraUnit& found = cursor.found;
      const Tile tile = TileOf(params_, found);
      for (int side = 0; side < tile.sides; ++side)
        for (int pass = 0; pass < tile.passes; ++pass) {
          uint64_t* fresh = CopySums(found, {found.number, tile.first_row, pass});
          CopyWeights(found, tile, tile.first_out + side * kSide, pass * kSlabTiles);
          CommitCopies();
          WaitCopies<1>();
          Show();
          copied_ = place_.stage;
          copied_sums_ = fresh;
          place_.Advance();
        }
    }
    WaitCopies<0>();
    Show();
  }

 private:
  static constexpr int kLines = kSide / (kWarpgroup / 2);

  /// Returns the barrier to tell when they are there; null: they already are.
  __device__ uint64_t* CopySums(const LoraUnit& found, const SumsKey& key) {
    if (key == key_) return nullptr;
    key_ = key;
    // The slab becomes free when the ones copied last are taken.
    WaitCopies<0>();
    Show();
    Wait(&barriers_.empty_sums[sums_place_.stage], sums_place_.parity ^ 1);
    const uint32_t to = slabs_ + sums_place_.stage * kSlabBytes;
    const int64_t rows = found.entry.rows;
    const auto* sums = reinterpret_cast<const __nv_bfloat16*>(
        params_.scratch + ScratchOf(found) +
        LoraSplits(params_.in) * found.entry.tiles * rows * kLoraTile);
    const int half = static_cast<int>(threadIdx.x) % 2;
#pragma unroll
    for (int i = 0; i < kLines; ++i) {
      const int line = static_cast<int>(threadIdx.x) / 2 + i * (kWarpgroup / 2);
      const int row = key.first_row + line;
#pragma unroll
      for (int t = 0; t < kSlabTiles; ++t) {
        const int rank_tile = key.pass * kSlabTiles + t;
        const bool there = rank_tile < found.module.tiles;
        CopyWanted(to + t / 4 * kFactorBytes + FactorOffset(line, t % 4 * 2 + half),
                   sums + (there ? (rank_tile * rows + row) * kLoraTile + half * kVector : 0),
                   there, row < rows);
      }
    }
    uint64_t* full = &barriers_.full_sums[sums_place_.stage];
    sums_place_.Advance();
    return full;
  }

  __device__ void CopyWeights(const LoraUnit& found, const Tile& tile, int first_out,
                              int first_tile) {
    Wait(&barriers_.empty_weights[place_.stage], place_.parity ^ 1);
    const uint32_t to = slabs_ + (kSumSlabs + place_.stage) * kSlabBytes;
    const int half = static_cast<int>(threadIdx.x) % 2;
#pragma unroll
    for (int t = 0; t < kSlabTiles; ++t) {
      const int width = WidthOf(found.module, first_tile + t);
      const bool there = half * kVector < width;
      const auto* b = params_.x;  // Any address, where there is nothing to copy.
      if (there)
        b = reinterpret_cast<const __nv_bfloat16*>(__ldg(&found.tiles[first_tile + t].b)) +
            half * kVector;
#pragma unroll
      for (int i = 0; i < kLines; ++i) {
        const int line = static_cast<int>(threadIdx.x) / 2 + i * (kWarpgroup / 2);
        const int out = first_out + line;
        CopyWanted(to + t / 4 * kFactorBytes + FactorOffset(LineOfOut(line), t % 4 * 2 + half),
                   b + (there ? out * width : 0), there, out < tile.out);
      }
    }
  }

  /// What was copied before the last is there.
  __device__ void Show() {
    if (copied_ < 0) return;
    ShowToProducts();
    if (copied_sums_ != nullptr) Arrive(copied_sums_);
    Arrive(&barriers_.full_weights[copied_]);
    copied_ = -1;
  }

  const LoraParams& params_;
  const uint32_t slabs_;
  Barriers& barriers_;
  RingPlace<kWeightSlabs> place_;
  RingPlace<kSumSlabs> sums_place_;
  SumsKey key_;
  int copied_ = -1;
  uint64_t* copied_sums_ = nullptr;
};

/// A warpgroup that multiplies.
class Multiplier {
 public:
  __device__ Multiplier(const LoraParams& params, uint32_t slabs, Barriers& barriers)
      : params_(params), slabs_(slabs), barriers_(barriers) {}

  __device__ void Run() {
    for (LoraCursor cursor = ReadStart<kWork>(params_); cursor.left > 0;
         Advance<kWork>(params_, cursor)) {
      const LoraUnit& found = cursor.found;
      const Tile tile = TileOf(params_, found);
      for (int side = 0; side < tile.sides; ++side) {
        GroupSums acc;
        for (int pass = 0; pass < tile.passes; ++pass) {
          TakeSums(found, {found.number, tile.first_row, pass});
          MultiplySlab(pass > 0, acc);
        }
        Store(tile.first_out + side * kSide, tile.out, acc);
      }
    }
  }

 private:
  __device__ int Group() const { return static_cast<int>(threadIdx.x) / kWarpgroup - 1; }
  __device__ void TakeSums(const LoraUnit& found, const SumsKey& key) {
    if (key == key_) return;
    if (key_.number >= 0) {
      ArriveAsWarp(&barriers_.empty_sums[sums_place_.stage]);
      sums_place_.Advance();
    }
    Wait(&barriers_.full_sums[sums_place_.stage], sums_place_.parity);
    if (key.number != key_.number || key.first_row != key_.first_row)
      FindRows(found, key.first_row);
    key_ = key;
  }

  __device__ void FindRows(const LoraUnit& found, int first_row) {
    const LoraDelta& delta = params_.delta[found.entry.index];
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + Group() * 64 + thread % kWarpgroup / kWarp * 16 +
                      thread % kWarp / 4 + high * 8;
      rows_[high] = row < found.entry.rows
                        ? delta.y + RowNumbers(params_)[found.entry.first + row] * delta.stride
                        : nullptr;
    }
  }

  /// All tiles that a slab has room for, since those that do not exist are zeros: a product that
  /// depends on a condition would wait for the one before.
  __device__ void MultiplySlab(bool add, GroupSums& acc) {
    Wait(&barriers_.full_weights[place_.stage], place_.parity);
    const uint32_t sums = slabs_ + sums_place_.stage * kSlabBytes + Group() * 64 * kFactorRow;
    const uint32_t weights = slabs_ + (kSumSlabs + place_.stage) * kSlabBytes;
    BeginProducts();
#pragma unroll
    for (int t = 0; t < kSlabTiles; ++t) {
      const int at = t / 4 * kFactorBytes + t % 4 * 32;
      StartProduct(acc, sums + at, weights + at, add || t > 0);
    }
    EndProducts(acc);
    ArriveAsWarp(&barriers_.empty_weights[place_.stage]);
    place_.Advance();
  }

  __device__ void Store(int first_out, int outs, const GroupSums& acc) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int out = first_out + part * 32 + static_cast<int>(threadIdx.x) % 4 * kVector;
      if (out >= outs) continue;
#pragma unroll
      for (int high = 0; high < 2; ++high) {
        const auto pair = [&](int j) {
          return PackBf16(acc[part * 4 + j][2 * high], acc[part * 4 + j][2 * high + 1]);
        };
        if (rows_[high] != nullptr)
          *reinterpret_cast<uint4*>(rows_[high] + out) =
              make_uint4(pair(0), pair(1), pair(2), pair(3));
      }
    }
  }

  const LoraParams& params_;
  const uint32_t slabs_;
  Barriers& barriers_;
  RingPlace<kWeightSlabs> place_;
  RingPlace<kSumSlabs> sums_place_;
  SumsKey key_;
  __nv_bfloat16* rows_[2] = {};
};
#endif

__global__ void __launch_bounds__(kHopperThreads, 1)
    LoraHopperExpand(const __grid_constant__ LoraParams params) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte shared[];
  __shared__ Barriers barriers;
  if (threadIdx.x == 0) {
    for (int slab = 0; slab < kSumSlabs; ++slab) {
      InitBarrier(&barriers.full_sums[slab], kWarpgroup);
      InitBarrier(&barriers.empty_sums[slab], kMultiplierWarps * kWarpArrivals);
    }
    for (int slab = 0; slab < kWeightSlabs; ++slab) {
      InitBarrier(&barriers.full_weights[slab], kWarpgroup);
      InitBarrier(&barriers.empty_weights[slab], kMultiplierWarps * kWarpArrivals);
    }
  }
  __syncthreads();
  AwaitKernelBefore();
  AdmitKernelBehind();
  if (threadIdx.x < kWarpgroup)
    Copier(params, FirstSlab(shared), barriers).Run();
  else
    Multiplier(params, FirstSlab(shared), barriers).Run();
#endif
}

}  // namespace

cudaError_t PrepareHopperExpand() {
  return cudaFuncSetAttribute(LoraHopperExpand, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kHopperBytes);
}

void LaunchHopperExpand(const LoraParams& params, cudaStream_t stream) {
  LaunchKernel(LoraHopperExpand, params, kWork, kHopperThreads, kHopperBytes, stream);
}

}  // namespace weft::ops::cuda
