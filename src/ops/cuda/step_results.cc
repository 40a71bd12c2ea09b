#include "ops/cuda/step_results.h"

#include "base/check.h"
#include "device/cuda/cuda_error.h"

namespace weft::ops::cuda {
namespace {

Duration Between(cudaEvent_t from, cudaEvent_t to) {
  float milliseconds = 0.0F;
  WEFT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, from, to));
  return FromSeconds(double{milliseconds} / 1000.0);
}

}  // namespace

Status StepResults::Allocate(device::Device& device, Bytes bytes) {
  for (Slot& slot : slots_) {
    WEFT_ASSIGN_OR_RETURN(slot.results, device.AllocateHost(bytes));
    WEFT_CUDA_CHECK(cudaEventCreate(&slot.begun));
    WEFT_CUDA_CHECK(cudaEventCreate(&slot.ended));
  }
  return OkStatus();
}

StepResults::~StepResults() {
  for (const Slot& slot : slots_) {
    if (slot.begun != nullptr) cudaEventDestroy(slot.begun);
    if (slot.ended != nullptr) cudaEventDestroy(slot.ended);
  }
}

void StepResults::Begin() {
  ++step_;
  WEFT_CHECK(step_ - awaited_ <= kStepsAtOnce);
  SlotOf(step_).pieces.clear();
  used_ = 0;
}

void StepResults::MarkBegin(cudaStream_t stream) {
  WEFT_CUDA_CHECK(cudaEventRecord(SlotOf(step_).begun, stream));
}

std::byte* StepResults::Place(std::span<SampledToken> into, Bytes bytes) {
  Slot& slot = SlotOf(step_);
  WEFT_CHECK(used_ + bytes <= slot.results.size());
  std::byte* const at = slot.results.data() + used_;
  slot.pieces.push_back({at, into});
  used_ += bytes;
  return at;
}

void StepResults::End(cudaStream_t stream) {
  WEFT_CUDA_CHECK(cudaEventRecord(SlotOf(step_).ended, stream));
}

StepTimes StepResults::Await(const SamplePlanner& planner) {
  const int64_t step = awaited_ + 1;
  const Slot& slot = SlotOf(step);
  WEFT_CUDA_CHECK(cudaEventSynchronize(slot.ended));
  for (const Piece& piece : slot.pieces) planner.Collect(piece.at, piece.into);
  StepTimes times;
  times.computing = Between(slot.begun, slot.ended);
  if (step > 1) times.idle = Between(SlotOf(step - 1).ended, slot.begun);
  awaited_ = step;
  return times;
}

}  // namespace weft::ops::cuda
