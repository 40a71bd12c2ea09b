#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>

#include "device/device.h"
#include "device/work_thread.h"

namespace weft::device::cuda {

/// Aborts on the engine's thread (base/thread_role.h); the program's own, handed over when it
/// opened this library, which has no view of the program's thread-local variables.
using AssertMayBlockFunction = void (*)(const char* what);

/// A CUDA event, and how often it was recorded and handed to the GPU. Shared by its Event and the
/// queued work that names it.
class CudaEventState {
 public:
  CudaEventState();
  ~CudaEventState();
  CudaEventState(const CudaEventState&) = delete;
  CudaEventState& operator=(const CudaEventState&) = delete;

  /// A new record is queued; it reaches the GPU when a stream's thread calls Issue with the ticket.
  uint64_t Announce();
  void Issue(uint64_t ticket, cudaStream_t stream);
  uint64_t announced() const;
  bool IsComplete() const;
  /// Blocks until the record was handed to the GPU; then the event may be waited for there.
  void WaitUntilIssued(uint64_t ticket) const;
  void Synchronize() const;
  cudaEvent_t event() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::condition_variable issued_changed_;
  uint64_t announced_ = 0;
  uint64_t issued_ = 0;
};

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(AssertMayBlockFunction assert_may_block)
      : assert_may_block_(assert_may_block) {}
  bool IsComplete() const override { return state_->IsComplete(); }
  void Synchronize() const override;
  const std::shared_ptr<CudaEventState>& state() const { return state_; }

 private:
  const AssertMayBlockFunction assert_may_block_;
  std::shared_ptr<CudaEventState> state_ = std::make_shared<CudaEventState>();
};

/// A CUDA stream and a thread that feeds it, so that no caller ever waits for the driver. What
/// Call is given runs on that thread when the GPU has done everything queued before it, and may use
/// the device (the executor runs whole steps so).
class CudaStream final : public Stream {
 public:
  CudaStream(StreamPriority priority, std::string_view name,
             AssertMayBlockFunction assert_may_block);
  ~CudaStream() override;

  void Copy(std::byte* destination, const std::byte* source, Bytes bytes) override;
  void Fill(std::byte* destination, std::byte value, Bytes bytes) override;
  void Call(std::function<void()> function) override;
  void Record(Event& event) override;
  void WaitFor(const Event& event) override;
  void Synchronize() override;

 private:
  void Drain();

  const AssertMayBlockFunction assert_may_block_;
  cudaStream_t stream_ = nullptr;
  bool busy_ = false;  ///< The thread's: the GPU was given work since the last Drain.
  std::unique_ptr<WorkThread> thread_;
};

}  // namespace weft::device::cuda
