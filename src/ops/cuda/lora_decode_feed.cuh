#pragma once

#include "ops/cuda/lora_decode.cuh"

namespace weft::ops::cuda {

#if __CUDA_ARCH__ >= 900
/// Each lane of the feeder, when it sent its part for its copies.
constexpr int kFullArrivals = kWarp;
#else
/// And when what it copied is there.
constexpr int kFullArrivals = 2 * kWarp;
#endif

/// The warp that fills the ring.
template <int kStages>
class Feeder {
 public:
  __device__ Feeder(const LoraParams& params, DecodeShared<kStages>& shared)
      : params_(params), shared_(shared), lane_(static_cast<int>(threadIdx.x) % kWarp) {}

  __device__ void Run() {
    LoraCursor shrink = ReadStart<LoraWork::kDecodeShrink>(params_);
    Group group = EnterGroup(shrink, true);
    LoraCursor expand;
    Group expand_group;
    int fed = 0;
    while (shrink.left > 0) {
      FeedShrink(shrink.found, group);
      // What the expand begins with is looked up while the ring is full.
      if (++fed == kStages) FindExpand(expand, expand_group);
      if (Advance<LoraWork::kDecodeShrink>(params_, shrink)) group = EnterGroup(shrink, true);
    }
    if (fed < kStages) FindExpand(expand, expand_group);
    while (expand.left > 0) {
      FeedExpand(expand.found, expand_group);
      if (Advance<LoraWork::kDecodeExpand>(params_, expand))
        expand_group = EnterGroup(expand, false);
    }
    Begin(expand.found, expand_group, {StageKind::kEnd, -1, 0, 0}, 0);
    Finish();
  }

 private:
  /// Of an entry: lane i has the address of tile i and the number of row i.
  struct Group {
    uint64_t address = 0;
    int number = 0;
  };

  __device__ Group EnterGroup(const LoraCursor& cursor, bool shrink) const {
    Group group;
    if (cursor.left == 0) return group;
    const LoraUnit& found = cursor.found;
    if (lane_ < found.entry.table_tiles)
      group.address = shrink ? __ldg(&found.tiles[lane_].a) : __ldg(&found.tiles[lane_].b);
    if (lane_ < found.entry.rows && lane_ < kMostDecodeRows)
      group.number = __ldg(&RowNumbers(params_)[found.entry.first + lane_]);
    return group;
  }

  __device__ void FindExpand(LoraCursor& cursor, Group& group) const {
    cursor = ReadStart<LoraWork::kDecodeExpand>(params_);
    group = EnterGroup(cursor, false);
    if (cursor.left > 0) PrefetchTable(cursor.found.entry);
  }

  __device__ void FeedShrink(const LoraUnit& found, const Group& group) {
    const int split = found.unit / found.entry.tiles;
    const int tile = found.unit - split * found.entry.tiles;
    const int first = split * kLoraSplit;
    const int bytes = min(kLoraSplit, params_.in - first) * 2;
    const int width = WidthOf(found.module, tile);
    const uint64_t from = __shfl_sync(0xffffffff, group.address, tile);
    const uint32_t to = Begin(found, group, {StageKind::kShrink, found.number, tile, split}, 0);
    Expect(width * bytes);
    CopyPieces(to + lane_ * kShrinkRow, from + (int64_t{lane_} * params_.in + first) * 2, bytes,
               lane_ < width);
    Finish();
  }

  __device__ void FeedExpand(const LoraUnit& found, const Group& group) {
    const int out = params_.delta[found.entry.index].out;
    if (found.entry.tiles == 0) {
      const int ranges = (out + kZeroOut - 1) / kZeroOut;
      Begin(found, group, {StageKind::kZeros, found.number, 0, found.unit % ranges * kZeroOut},
            found.unit / ranges * kZeroRows);
      Finish();
      return;
    }
    const int outs = DecodeOut(found.entry.tiles);
    const int first_out = found.unit * outs;
    const int there = min(outs, out - first_out);
    for (int first = 0; first < found.entry.tiles; first += kPassTiles) {
      const int tiles = min(kPassTiles, found.module.tiles - first);
      const int last = WidthOf(found.module, first + tiles - 1);
      const int width = lane_ < tiles ? WidthOf(found.module, first + lane_) : 0;
      const uint64_t from = __shfl_sync(0xffffffff, group.address, (first + lane_) % kWarp);
      const uint32_t to =
          Begin(found, group, {StageKind::kExpand, found.number, first, first_out}, 0);
      Expect(tiles <= 0 ? 0 : ((tiles - 1) * kLoraTile + last) * there * 2);
      CopyPieces(to + lane_ * outs * kPieceBytes, from + int64_t{first_out} * width * 2,
                 there * width * 2, width > 0);
      Finish();
    }
  }

  /// Waits for the stage to be free and says what will be in it. Returns its address.
  __device__ uint32_t Begin(const LoraUnit& found, const Group& group, const StagePart& part,
                            int first_row) {
    Wait(&shared_.empty[place_.stage], place_.parity ^ 1);
    StageWork& into = shared_.work[place_.stage];
    into.numbers[lane_] = group.number;
    if (lane_ == 0) {
      into.part = part;
      into.first = found.entry.first;
      into.rows = found.entry.rows;
      into.scratch = found.entry.scratch;
      into.entry_tiles = found.entry.tiles;
      into.tiles = found.module.tiles;
      into.last_width = found.module.last_width;
      into.scaling = found.module.scaling;
      into.index = found.entry.index;
      into.first_row = first_row;
    }
    Arrive(&shared_.described[place_.stage]);
    return SharedAddress(shared_.ring[place_.stage]);
  }

#if __CUDA_ARCH__ >= 900
  __device__ void Expect(int bytes) {
    if (lane_ == 0)
      asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(
                       SharedAddress(&shared_.full[place_.stage])),
                   "r"(bytes)
                   : "memory");
    __syncwarp();
  }
  /// A piece of its own for each lane where `mine`.
  __device__ void CopyPieces(uint32_t to, uint64_t from, int bytes, bool mine) {
    if (mine)
      CopyBulkOnce(to, reinterpret_cast<const void*>(from), bytes, &shared_.full[place_.stage]);
  }
#else
  __device__ void Expect(int) {}
  __device__ void CopyPieces(uint32_t to, uint64_t from, int bytes, bool mine) {
    const int pieces = __popc(__ballot_sync(0xffffffff, mine));
    for (int piece = 0; piece < pieces; ++piece) {
      const uint32_t into = __shfl_sync(0xffffffff, to, piece);
      const uint64_t source = __shfl_sync(0xffffffff, from, piece);
      const int length = __shfl_sync(0xffffffff, bytes, piece);
      for (int at = lane_ * 16; at < length; at += kWarp * 16)
        CopyAsync(into + at, reinterpret_cast<const std::byte*>(source) + at, true);
    }
  }
#endif

  __device__ void Finish() {
#if __CUDA_ARCH__ < 900
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(
                     SharedAddress(&shared_.full[place_.stage]))
                 : "memory");
#endif
    Arrive(&shared_.full[place_.stage]);
    place_.Advance();
  }

  /// Brings a line a lane of an adapter's next layer into L2.
  __device__ void PrefetchTable(const LoraEntry& entry) const {
    constexpr int kTilesOfLine = 128 / sizeof(LoraTableTile);
    const int line = lane_ - 1;
    if (entry.table == 0 || params_.layer + 1 >= params_.layers ||
        line * kTilesOfLine >= entry.table_tiles)
      return;
    const int index =
        (params_.layer + 1) * kLoraProjections + FirstProjectionOf(params_.op) + entry.index;
    const uint64_t at = line < 0 ? entry.table + index * sizeof(LoraTableModule)
                                 : entry.table + TilesOffset(params_) +
                                       (int64_t{index} * entry.table_tiles + line * kTilesOfLine) *
                                           sizeof(LoraTableTile);
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
  }

  const LoraParams& params_;
  DecodeShared<kStages>& shared_;
  const int lane_;
  RingPlace<kStages> place_;
};

}  // namespace weft::ops::cuda
