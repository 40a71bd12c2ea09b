#include "ops/cpu/weight_memory.h"

#include <algorithm>
#include <utility>

namespace weft::ops::cpu {
namespace {

constexpr Bytes kLine = 64;
/// Small beside a model, large beside its small matrices.
constexpr Bytes kSlab = 16 * kMiB;
/// From here up a matrix has an allocation of its own: rounding that up to huge pages costs little.
constexpr Bytes kLarge = 8 * kMiB;

Bytes RoundUp(Bytes bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

Result<WeightMemory::Slab*> WeightMemory::NewSlab(Bytes bytes) {
  WEFT_ASSIGN_OR_RETURN(device::Buffer buffer, device_.AllocateDevice(bytes));
  slabs_.push_back({std::make_shared<const device::Buffer>(std::move(buffer)), 0});
  return &slabs_.back();
}

Result<WeightPiece> WeightMemory::Take(Bytes bytes) {
  bytes = RoundUp(bytes);
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(slabs_.begin(), slabs_.end(), [&](const Slab& slab) {
    return slab.buffer->size() - slab.used >= bytes;
  });
  Slab* slab = found == slabs_.end() ? nullptr : &*found;
  if (slab == nullptr) {
    WEFT_ASSIGN_OR_RETURN(slab, NewSlab(bytes >= kLarge ? bytes : kSlab));
  }
  std::byte* data = slab->buffer->data() + slab->used;
  slab->used += bytes;
  return WeightPiece{data, slab->buffer};
}

}  // namespace weft::ops::cpu
