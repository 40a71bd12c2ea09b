#pragma once

#include "ops/cuda/lora_decode.cuh"
#include "ops/cuda/lora_decode_expand.cuh"
#include "ops/cuda/lora_decode_feed.cuh"
#include "ops/cuda/lora_decode_shrink.cuh"

// What the threads of a block do for adapters, in whichever kernel they are.

namespace weft::ops::cuda {

/// Units of one entry whose sums this block has written and not yet told of.
struct Untold {
  int number = 0;
  uint32_t units = 0;
};

/// Synchronises the consumers.
__device__ inline void Tell(const LoraParams& params, Untold& untold) {
  if (untold.units == 0) return;
  SynchroniseConsumers();
  if (threadIdx.x == 0)
    AddArrived(ArrivedUnits(params, params.layer) + untold.number, untold.units);
  untold.units = 0;
}

/// The next layer's counters, which nobody uses now.
__device__ inline void ClearArrived(const LoraParams& params) {
  if (blockIdx.x != 0 || static_cast<int>(threadIdx.x) >= kMaxLoraEntries) return;
  ArrivedUnits(params, params.layer + 1)[threadIdx.x] = 0;
}
static_assert(kMaxLoraEntries <= kConsumers);

template <int kStages>
__device__ inline void ConsumeShrink(const LoraParams& params, DecodeShared<kStages>& shared,
                                     Consumer<kStages>& consumer) {
  RowChain chain;
  Untold untold;
  for (;;) {
    const StageWork& work = consumer.Take();
    const StagePart part = work.part;
    if (part.kind != StageKind::kShrink) break;
    if (part.number != untold.number) Tell(params, untold);
    ShrinkStage(params, work, part, consumer, chain, shared.chains);
    untold.number = part.number;
    ++untold.units;
  }
  Tell(params, untold);
}

template <int kStages>
__device__ inline void ConsumeExpand(const LoraParams& params, DecodeShared<kStages>& shared,
                                     Consumer<kStages>& consumer) {
  OutSums carried = {};
  ExpandRows rows;
  for (;;) {
    const StageWork& work = consumer.Take();
    const StagePart part = work.part;
    if (part.kind == StageKind::kEnd) break;
    if (part.kind == StageKind::kZeros) {
      StoreZeros(params, work);
      consumer.AwaitWeights();
      consumer.Release();
      continue;
    }
    if (part.number != rows.number) {
      AwaitSums(params, work, shared.sums);
      rows = FindExpandRows(params, work, 0, shared.sums);
    }
    consumer.AwaitWeights();
    if (rows.shape == DecodeOut(1))
      ExpandStage<1>(params, work, part, consumer, shared.sums, rows, carried);
    else if (rows.shape == DecodeOut(2))
      ExpandStage<2>(params, work, part, consumer, shared.sums, rows, carried);
    else if (rows.shape == DecodeOut(4))
      ExpandStage<4>(params, work, part, consumer, shared.sums, rows, carried);
    else
      ExpandStage<8>(params, work, part, consumer, shared.sums, rows, carried);
  }
}

/// By one thread, which then calls BarriersAreReady, before the block synchronises.
template <int kStages>
__device__ inline void InitBarriers(DecodeShared<kStages>& shared) {
  for (int stage = 0; stage < kStages; ++stage) {
    InitBarrier(&shared.described[stage], kWarp);
    InitBarrier(&shared.full[stage], kFullArrivals);
    InitBarrier(&shared.empty[stage], kConsumerWarps * kWarpArrivals);
  }
}

/// The block's first kDecodeThreads threads: its share of the shrink and of the expand.
template <int kStages>
__device__ inline void RunDecode(const LoraParams& params, DecodeShared<kStages>& shared) {
  if (threadIdx.x >= kConsumers) {
    Feeder<kStages>(params, shared).Run();
    return;
  }
  // The next kernel waits for this one, which waits for the one before: it may start right away.
  AdmitKernelBehind();
  AwaitKernelBefore();
  ClearArrived(params);
  Consumer<kStages> consumer(shared);
  ConsumeShrink(params, shared, consumer);
  ConsumeExpand(params, shared, consumer);
}

}  // namespace weft::ops::cuda
