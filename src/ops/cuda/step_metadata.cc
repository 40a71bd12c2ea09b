#include "ops/cuda/step_metadata.h"

#include <utility>

#include "device/cuda/cuda_error.h"
#include "ops/cuda/transfer_kernels.h"

namespace weft::ops::cuda {
namespace {

constexpr Bytes kAlignment = 256;

}  // namespace

MetadataSection StepMetadata::Reserve(Bytes bytes) {
  WEFT_CHECK(fixed_.data() == nullptr);
  const MetadataSection section{size_, bytes};
  size_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return section;
}

Status StepMetadata::Allocate(device::Device& device) {
  WEFT_ASSIGN_OR_RETURN(fixed_, device.AllocateDevice(size_));
  for (Slot& slot : slots_) {
    WEFT_ASSIGN_OR_RETURN(slot.memory, device.AllocateHost(size_));
    WEFT_CUDA_CHECK(cudaEventCreateWithFlags(&slot.read, cudaEventDisableTiming));
  }
  return OkStatus();
}

StepMetadata::~StepMetadata() {
  for (const Slot& slot : slots_)
    if (slot.read != nullptr) cudaEventDestroy(slot.read);
}

void StepMetadata::Begin() {
  WEFT_CHECK(used_.empty());
  current_ = (current_ + 1) % slots_.size();
  WEFT_CUDA_CHECK(cudaEventSynchronize(slots_[current_].read));
}

void StepMetadata::Use(MetadataSection section, Bytes bytes, Bytes offset) {
  WEFT_CHECK(offset + bytes <= section.capacity);
  if (bytes > 0) used_.emplace_back(section.offset + offset, bytes);
}

void StepMetadata::Upload(cudaStream_t stream) {
  TransferParams transfer;
  transfer.from = slots_[current_].memory.data();
  transfer.to = fixed_.data();
  for (const auto& [offset, bytes] : used_) transfer.Add(offset, bytes);
  used_.clear();
  LaunchTransfer(transfer, stream);
  WEFT_CUDA_CHECK(cudaEventRecord(slots_[current_].read, stream));
}

}  // namespace weft::ops::cuda
