#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "device/device.h"
#include "device/work_thread.h"

namespace weft::device {

/// Counts how often it was recorded and how far streams came. Shared by its event and the work that
/// names it, so an event may go while work is queued.
class EventState {
 public:
  /// A new record; complete once Complete was called with the ticket.
  uint64_t Record();
  void Complete(uint64_t ticket);
  uint64_t recorded() const;
  bool IsComplete() const;
  void WaitFor(uint64_t ticket) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable completed_changed_;
  uint64_t recorded_ = 0;
  uint64_t completed_ = 0;
};

class CpuEvent final : public Event {
 public:
  bool IsComplete() const override { return state_->IsComplete(); }
  void Synchronize() const override;
  const std::shared_ptr<EventState>& state() const { return state_; }

 private:
  std::shared_ptr<EventState> state_ = std::make_shared<EventState>();
};

/// A thread that does one piece of work after another.
class CpuStream final : public Stream {
 public:
  explicit CpuStream(std::string_view name) : thread_(name) {}

  void Copy(std::byte* destination, const std::byte* source, Bytes bytes) override;
  void Fill(std::byte* destination, std::byte value, Bytes bytes) override;
  void Call(std::function<void()> function) override { thread_.Queue(std::move(function)); }
  void Record(Event& event) override;
  void WaitFor(const Event& event) override;
  void Synchronize() override;

 private:
  WorkThread thread_;
};

}  // namespace weft::device
