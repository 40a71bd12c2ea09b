#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "device/device.h"

namespace weft::ops::cpu {

/// A piece of memory for a weight; what it is a piece of lives as long as any of its pieces.
struct WeightPiece {
  std::byte* data = nullptr;
  std::shared_ptr<const device::Buffer> owner;
};

/// Memory for weights. The system backs an allocation with huge pages only from 2 MiB up, and most
/// matrices of a small model are smaller; reading those from small pages, a processor waits for
/// addresses. So small matrices share slabs. Owned by the operators; any thread.
class WeightMemory {
 public:
  explicit WeightMemory(device::Device& device) : device_(device) {}

  /// At a whole cache line.
  Result<WeightPiece> Take(Bytes bytes);

 private:
  struct Slab {
    std::shared_ptr<const device::Buffer> buffer;
    Bytes used = 0;
  };
  Result<Slab*> NewSlab(Bytes bytes);

  device::Device& device_;
  std::mutex mutex_;
  std::vector<Slab> slabs_;
};

}  // namespace weft::ops::cpu
