#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/result.h"
#include "device/device.h"

namespace weft::ops::cuda {

/// A part of the metadata: where it begins, and how many bytes it may have.
struct MetadataSection {
  Bytes offset = 0;
  Bytes capacity = 0;
};

/// What kernels need to know of a step (tokens, pages, lists of work), at addresses on the GPU that
/// never change, so that captured graphs find it. The host writes into one of three pinned slots; a
/// kernel copies the slot to the fixed place, behind the kernels of the step before. A slot is
/// written again only after the copy from it has happened. Owned by the operators, used by their
/// thread.
class StepMetadata {
 public:
  /// Before Allocate: room for `bytes`.
  MetadataSection Reserve(Bytes bytes);
  Status Allocate(device::Device& device);
  ~StepMetadata();

  /// Takes the next slot; waits until the GPU has read what it held before.
  void Begin();
  /// Host memory of a section in the slot at hand.
  template <typename T>
  std::span<T> Host(MetadataSection section) {
    return {reinterpret_cast<T*>(slots_[current_].memory.data() + section.offset),
            static_cast<size_t>(section.capacity) / sizeof(T)};
  }
  /// The section's address on the GPU.
  template <typename T>
  T* Device(MetadataSection section) const {
    return reinterpret_cast<T*>(fixed_.data() + section.offset);
  }
  /// `bytes` of a section from `offset` on go with the next Upload.
  void Use(MetadataSection section, Bytes bytes, Bytes offset = 0);
  /// Queues the copy of what was used since the last Upload.
  void Upload(cudaStream_t stream);

  Bytes device_bytes() const { return fixed_.size(); }

 private:
  struct Slot {
    device::Buffer memory;
    cudaEvent_t read = nullptr;
  };

  Bytes size_ = 0;
  device::Buffer fixed_;
  std::array<Slot, 3> slots_;
  size_t current_ = 0;
  std::vector<std::pair<Bytes, Bytes>> used_;  ///< Offset, bytes.
};

}  // namespace weft::ops::cuda
