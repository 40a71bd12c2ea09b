#include "ops/cuda/lora_hopper.cuh"
#include "ops/cuda/lora_launch.cuh"

namespace weft::ops::cuda {
namespace {

constexpr LoraWork kWork = LoraWork::kPrefillShrink;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
/// A stage is one chain of 128 rows of x and of 128 ranks.
constexpr int kStages = kSlabs / 2;
static_assert(kLoraChain * 2 == 2 * kFactorRow);

/// 128 rows by 128 ranks over one split of the columns.
struct Tile {
  int first_row;
  int first_tile;
  int split;
  int columns;  ///< Of the split.
};

__device__ Tile TileOf(const LoraParams& params, const LoraUnit& found) {
  const int row_blocks = (found.entry.rows + kPrefillRows - 1) / kPrefillRows;
  const int tile_blocks = (found.entry.tiles + kPrefillTiles - 1) / kPrefillTiles;
  Tile tile;
  tile.first_row = found.unit % row_blocks * kPrefillRows;
  tile.first_tile = found.unit / row_blocks % tile_blocks * kPrefillTiles;
  tile.split = found.unit / row_blocks / tile_blocks;
  tile.columns = min(kLoraSplit, params.in - tile.split * kLoraSplit);
  return tile;
}

struct Barriers {
  uint64_t full[kStages];
  uint64_t empty[kStages];
};

/// The warpgroup that copies: a thread has one vector of every 16th row of either side.
class Copier {
 public:
  __device__ Copier(const LoraParams& params, uint32_t slabs, Barriers& barriers)
      : params_(params), slabs_(slabs), barriers_(barriers) {}

  __device__ void Run() {
    for (LoraCursor cursor = ReadStart<kWork>(params_); cursor.left > 0;
         Advance<kWork>(params_, cursor)) {
      const Tile tile = TileOf(params_, cursor.found);
      if (tile.first_tile < cursor.found.module.tiles) CopyTile(cursor.found, tile);
    }
    WaitCopies<0>();
    Show();
  }

 private:
  static constexpr int kLines = 128 / (kWarpgroup / 8);

  __device__ void CopyTile(const LoraUnit& found, const Tile& tile) {
    const int line = static_cast<int>(threadIdx.x) / 8;
    const int vector = static_cast<int>(threadIdx.x) % 8;
    const int64_t column = tile.split * kLoraSplit + vector * kVector;
    const __nv_bfloat16* x[kLines];
    const __nv_bfloat16* a[kLines];
#pragma unroll
    for (int i = 0; i < kLines; ++i) {
      const int row = tile.first_row + line + i * 16;
      x[i] =
          row < found.entry.rows
              ? params_.x + RowNumbers(params_)[found.entry.first + row] * params_.x_stride + column
              : nullptr;
      const int rank_tile = tile.first_tile + i;
      a[i] = line < WidthOf(found.module, rank_tile)
                 ? reinterpret_cast<const __nv_bfloat16*>(__ldg(&found.tiles[rank_tile].a)) +
                       int64_t{line} * params_.in + column
                 : nullptr;
    }
    const uint32_t offset = FactorOffset(line, vector);
    for (int chain = 0; chain * kLoraChain < tile.columns; ++chain) {
      Wait(&barriers_.empty[place_.stage], place_.parity ^ 1);
      const uint32_t to = slabs_ + place_.stage * 2 * kSlabBytes + offset;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = chain * kLoraChain + half * kFactorColumns;
        const bool valid = at + vector * kVector < tile.columns;
#pragma unroll
        for (int i = 0; i < kLines; ++i) {
          const uint32_t into = to + half * kFactorBytes + i * 16 * kFactorRow;
          CopyWanted(into, x[i] + (valid ? at : 0), valid, x[i] != nullptr);
          CopyWanted(into + kSlabBytes, a[i] + (valid ? at : 0), valid, a[i] != nullptr);
        }
      }
      CommitCopies();
      WaitCopies<1>();
      Show();
      copied_ = place_.stage;
      place_.Advance();
    }
  }

  /// The stage before the last one is there.
  __device__ void Show() {
    if (copied_ < 0) return;
    ShowToProducts();
    Arrive(&barriers_.full[copied_]);
  }

  const LoraParams& params_;
  const uint32_t slabs_;
  Barriers& barriers_;
  RingPlace<kStages> place_;
  int copied_ = -1;
};

/// The split's sums, [tile][row][rank] of the group.
__device__ void StoreSplit(const LoraParams& params, const LoraUnit& found, const Tile& tile,
                           int first_row, const GroupSums& total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int rows = found.entry.rows;
  const int row = tile.first_row + first_row + lane / 4;
  float* into =
      params.scratch + ScratchOf(found) + lane % 4 * 2 +
      (int64_t{tile.split * found.entry.tiles + tile.first_tile} * rows + row) * kLoraTile;
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    const int width = WidthOf(found.module, tile.first_tile + j / 2);
    if (width == 0) break;
    const bool there = j % 2 * 8 < width;
    float* at = into + int64_t{j / 2} * rows * kLoraTile + j % 2 * 8;
#pragma unroll
    for (int high = 0; high < 2; ++high)
      if (row + high * 8 < rows)
        *reinterpret_cast<float2*>(at + high * 8 * kLoraTile) =
            there ? make_float2(total[j][2 * high], total[j][2 * high + 1]) : make_float2(0, 0);
  }
}

/// A warpgroup that multiplies.
__device__ void MultiplyTiles(const LoraParams& params, uint32_t slabs, Barriers& barriers) {
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  const int first_row = group * 64 + static_cast<int>(threadIdx.x) % kWarpgroup / kWarp * 16;
  RingPlace<kStages> place;
  for (LoraCursor cursor = ReadStart<kWork>(params); cursor.left > 0;
       Advance<kWork>(params, cursor)) {
    const Tile tile = TileOf(params, cursor.found);
    if (tile.first_tile >= cursor.found.module.tiles) continue;
    GroupSums acc;
    GroupSums total;
    for (int chain = 0; chain * kLoraChain < tile.columns; ++chain) {
      Wait(&barriers.full[place.stage], place.parity);
      const uint32_t x = slabs + place.stage * 2 * kSlabBytes + group * 64 * kFactorRow;
      const uint32_t a = slabs + (place.stage * 2 + 1) * kSlabBytes;
      BeginProducts();
#pragma unroll
      for (int step = 0; step < kLoraChain / 16; ++step) {
        const int at = step / 4 * kFactorBytes + step % 4 * 32;
        StartProduct(acc, x + at, a + at, step > 0);
      }
      EndProducts(acc);
      ArriveAsWarp(&barriers.empty[place.stage]);
      place.Advance();
#pragma unroll
      for (int j = 0; j < 16; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) total[j][i] = chain == 0 ? acc[j][i] : total[j][i] + acc[j][i];
    }
    StoreSplit(params, cursor.found, tile, first_row, total);
  }
}
#endif

__global__ void __launch_bounds__(kHopperThreads, 1)
    LoraHopperShrink(const __grid_constant__ LoraParams params) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte shared[];
  __shared__ Barriers barriers;
  if (threadIdx.x == 0)
    for (int stage = 0; stage < kStages; ++stage) {
      InitBarrier(&barriers.full[stage], kWarpgroup);
      InitBarrier(&barriers.empty[stage], kMultiplierWarps * kWarpArrivals);
    }
  __syncthreads();
  AwaitKernelBefore();
  AdmitKernelBehind();
  if (threadIdx.x < kWarpgroup)
    Copier(params, FirstSlab(shared), barriers).Run();
  else
    MultiplyTiles(params, FirstSlab(shared), barriers);
#endif
}

}  // namespace

cudaError_t PrepareHopperShrink() {
  return cudaFuncSetAttribute(LoraHopperShrink, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kHopperBytes);
}

void LaunchHopperShrink(const LoraParams& params, cudaStream_t stream) {
  LaunchKernel(LoraHopperShrink, params, kWork, kHopperThreads, kHopperBytes, stream);
}

}  // namespace weft::ops::cuda
