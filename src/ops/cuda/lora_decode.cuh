#pragma once

#include "ops/cuda/lora_device.cuh"
#include "ops/cuda/lora_ring.cuh"

// The LoRA kernel for few rows of an adapter: shrink and expand of an operator in one launch. It
// waits for memory, so that is what it is built around. A block takes a contiguous share of the
// shrink's units and one of the expand's. One warp, the feeder, sends their weights through a ring
// of stages in shared memory without pause, the others consume. Weights depend on no kernel before,
// so the ring fills while that one still runs; and it fills with the expand's weights while the
// blocks wait for each other's sums, which they count in LoraStep::arrived. That needs every block
// on the device at once: there is one for each multiprocessor. Where it runs alone two fit, this
// kernel's and the next one's; with a base product the next one's come as this one's leave, and do
// not wait for each other before all are there. In a mixed step prefills' kernels and base products
// hold multiprocessors beside it; none of those waits for it, so its blocks get their turn.

namespace weft::ops::cuda {

constexpr int kConsumerWarps = 8;
constexpr int kConsumers = kConsumerWarps * kWarp;
constexpr int kDecodeThreads = kConsumers + kWarp;

/// A stage of a shrink is a rank tile by a split of the columns. The padding behind a rank's
/// columns sends the ranks that LoadMatrices reads at once to different banks.
constexpr int kShrinkRow = kLoraSplit * 2 + 16;
/// A stage of an expand is kPassTiles rank tiles of 128 outputs, or as many bytes in other shapes.
constexpr int kPieceBytes = kLoraTile * 2;  ///< One output's ranks of a tile.
constexpr int kRingStageBytes = kLoraTile * kShrinkRow;
static_assert(kRingStageBytes >= kPassTiles * DecodeOut(kPassTiles) * kPieceBytes);
static_assert(kLoraSplit == kConsumerWarps * kLoraChain, "A warp sums a chain.");

constexpr int kRingStages = 3;
/// Where a block may have less shared memory than that takes (compute capability 8.6 and 8.9).
constexpr int kFewRingStages = 2;

/// A x of a group's rows, finished: [row][rank], rows padded against bank conflicts.
constexpr int SumStride(int tiles) { return tiles * kLoraTile + kVector; }
constexpr int kSumsElements = kMostDecodeRows * SumStride(kPassTiles);
static_assert(kSumsElements >= kRowTile * SumStride(2 * kPassTiles) &&
              kSumsElements >= kRowTile / 2 * SumStride(kMaxLoraTiles));
using ChainSums = float[kConsumerWarps][kRowTile][kLoraTile];

enum class StageKind : int { kShrink, kExpand, kZeros, kEnd };

/// What a stage holds of its entry's work.
struct alignas(16) StagePart {
  StageKind kind;
  int number;  ///< The entry's, among the operator's.
  int tile;    ///< Shrink: the rank tile. Expand: the first of the pass.
  int first;   ///< Shrink: the split. Expand and zeros: the first output.
};

/// What a stage holds.
struct StageWork {
  StagePart part;
  int first;  ///< As LoraEntry.
  int rows;
  int scratch;
  int entry_tiles;
  int tiles;  ///< Of this layer's module.
  int last_width;
  float scaling;
  int index;                     ///< Of the operator's projections.
  int first_row;                 ///< Of zeros.
  int numbers[kMostDecodeRows];  ///< The rows', in x and delta.
};

template <int kStages>
struct DecodeShared {
  alignas(128) std::byte ring[kStages][kRingStageBytes];
  /// A block is done with its share of the shrink before it begins to expand.
  union alignas(16) {
    ChainSums chains;
    __nv_bfloat16 sums[kSumsElements];
  };
  StageWork work[kStages];
  uint64_t described[kStages];
  uint64_t full[kStages];
  uint64_t empty[kStages];
};
/// Two blocks and the kilobyte that each costs besides.
static_assert(2 * (sizeof(DecodeShared<kRingStages>) + 1024) <= 228 * 1024);
static_assert(sizeof(DecodeShared<kFewRingStages>) <= 99 * 1024);

/// A consumer's place in the ring.
template <int kStages>
class Consumer {
 public:
  __device__ explicit Consumer(DecodeShared<kStages>& shared) : shared_(shared) {}

  /// Waits to hear what is in a stage, the same until Release.
  __device__ const StageWork& Take() {
    Wait(&shared_.described[place_.stage], place_.parity);
    return shared_.work[place_.stage];
  }
  /// Until its weights are there. Before Release.
  __device__ void AwaitWeights() { Wait(&shared_.full[place_.stage], place_.parity); }
  __device__ uint32_t weights() const { return SharedAddress(shared_.ring[place_.stage]); }
  /// This warp has read what it needs of it.
  __device__ void Release() {
    ArriveAsWarp(&shared_.empty[place_.stage]);
    place_.Advance();
  }

 private:
  DecodeShared<kStages>& shared_;
  RingPlace<kStages> place_;
};

/// Of the consumers alone.
__device__ inline void SynchroniseConsumers() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

__device__ inline uint32_t* ArrivedUnits(const LoraParams& params, int layer) {
  return params.step->arrived[static_cast<int>(params.op)][layer % 2];
}

/// Makes known what the consumers wrote before they synchronised last.
__device__ inline void AddArrived(uint32_t* arrived, uint32_t units) {
  asm volatile("fence.acq_rel.gpu;\nred.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(arrived),
               "r"(units)
               : "memory");
}
__device__ inline uint32_t ReadArrived(const uint32_t* arrived) {
  uint32_t units = 0;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(units) : "l"(arrived) : "memory");
  return units;
}

cudaError_t PrepareDecode(int32_t shared_limit);
void LaunchDecode(const LoraParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
