#include "ops/cuda/step_slot.h"

#include "ops/cuda/transfer_kernels.h"

namespace weft::ops::cuda {

static_assert(kMaxSegments <= kMostPieces);

std::vector<SlotSegment> SegmentsOf(const std::byte* slot) {
  const auto* table = reinterpret_cast<const int32_t*>(slot);
  std::vector<SlotSegment> segments;
  for (int32_t i = 0; i < kMaxSegments; ++i)
    if (table[2 * i + 1] > 0) segments.push_back({table[2 * i], table[2 * i + 1]});
  return segments;
}

cudaError_t LaunchSlotUpload(const std::byte* slot, std::byte* place, cudaStream_t stream) {
  TransferParams transfer;
  transfer.from = slot;
  transfer.to = place;
  for (const auto& [offset, bytes] : SegmentsOf(slot)) transfer.Add(offset, bytes);
  LaunchTransfer(transfer, stream);
  return cudaGetLastError();
}

}  // namespace weft::ops::cuda
