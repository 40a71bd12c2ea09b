#include "device/cuda/cuda_stream.h"

#include <algorithm>
#include <utility>

#include "device/cuda/cuda_error.h"

namespace weft::device::cuda {

CudaEventState::CudaEventState() {
  WEFT_CUDA_CHECK(
      cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync));
}

CudaEventState::~CudaEventState() { cudaEventDestroy(event_); }

uint64_t CudaEventState::Announce() {
  std::lock_guard lock(mutex_);
  return ++announced_;
}

void CudaEventState::Issue(uint64_t ticket, cudaStream_t stream) {
  std::lock_guard lock(mutex_);
  WEFT_CUDA_CHECK(cudaEventRecord(event_, stream));
  issued_ = std::max(issued_, ticket);
  issued_changed_.notify_all();
}

uint64_t CudaEventState::announced() const {
  std::lock_guard lock(mutex_);
  return announced_;
}

bool CudaEventState::IsComplete() const {
  std::lock_guard lock(mutex_);
  if (issued_ < announced_) return false;
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) return false;
  WEFT_CUDA_CHECK(state);
  return true;
}

void CudaEventState::WaitUntilIssued(uint64_t ticket) const {
  std::unique_lock lock(mutex_);
  issued_changed_.wait(lock, [&] { return issued_ >= ticket; });
}

void CudaEventState::Synchronize() const {
  WaitUntilIssued(announced());
  WEFT_CUDA_CHECK(cudaEventSynchronize(event_));
}

void CudaEvent::Synchronize() const {
  assert_may_block_("Event::Synchronize");
  state_->Synchronize();
}

CudaStream::CudaStream(StreamPriority priority, std::string_view name,
                       AssertMayBlockFunction assert_may_block)
    : assert_may_block_(assert_may_block) {
  int lowest = 0;
  int highest = 0;
  WEFT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  WEFT_CUDA_CHECK(cudaStreamCreateWithPriority(
      &stream_, cudaStreamNonBlocking, priority == StreamPriority::kCompute ? highest : lowest));
  thread_ = std::make_unique<WorkThread>(name);
}

CudaStream::~CudaStream() {
  thread_.reset();
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
  cudaStreamDestroy(stream_);
}

void CudaStream::Copy(std::byte* destination, const std::byte* source, Bytes bytes) {
  thread_->Queue([=, this] {
    WEFT_CUDA_CHECK(cudaMemcpyAsync(destination, source, static_cast<size_t>(bytes),
                                    cudaMemcpyDefault, stream_));
    busy_ = true;
  });
}

void CudaStream::Fill(std::byte* destination, std::byte value, Bytes bytes) {
  thread_->Queue([=, this] {
    WEFT_CUDA_CHECK(cudaMemsetAsync(destination, std::to_integer<int>(value),
                                    static_cast<size_t>(bytes), stream_));
    busy_ = true;
  });
}

void CudaStream::Call(std::function<void()> function) {
  thread_->Queue([this, function = std::move(function)] {
    Drain();
    function();
  });
}

void CudaStream::Record(Event& event) {
  const std::shared_ptr<CudaEventState> state = static_cast<CudaEvent&>(event).state();
  thread_->Queue([this, state, ticket = state->Announce()] { state->Issue(ticket, stream_); });
}

void CudaStream::WaitFor(const Event& event) {
  const std::shared_ptr<CudaEventState> state = static_cast<const CudaEvent&>(event).state();
  thread_->Queue([this, state, ticket = state->announced()] {
    if (ticket == 0) return;
    state->WaitUntilIssued(ticket);
    WEFT_CUDA_CHECK(cudaStreamWaitEvent(stream_, state->event(), 0));
    busy_ = true;
  });
}

void CudaStream::Synchronize() {
  assert_may_block_("Stream::Synchronize");
  CudaEvent event(assert_may_block_);
  Record(event);
  event.Synchronize();
}

void CudaStream::Drain() {
  if (!std::exchange(busy_, false)) return;
  WEFT_CUDA_CHECK(cudaStreamSynchronize(stream_));
}

}  // namespace weft::device::cuda
