#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::ops::cuda {

/// A slot is what a step's planners wrote on the host, laid out like its place on the device. It
/// begins with a table of kMaxSegments pairs (offset, bytes; multiples of 16 apart) that says what
/// was filled; unused pairs are zero.
inline constexpr int32_t kMaxSegments = 16;

struct SlotSegment {
  int32_t offset;
  int32_t bytes;
};
/// The used ones.
std::vector<SlotSegment> SegmentsOf(const std::byte* slot);

/// Brings a slot's segments (memory of the host that the device can read) to their place on the
/// device, by the kernel of transfer_kernels.h. The slot may be written again once it has run.
cudaError_t LaunchSlotUpload(const std::byte* slot, std::byte* place, cudaStream_t stream);

}  // namespace weft::ops::cuda
