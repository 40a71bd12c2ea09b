#include "device/cpu/cpu_stream.h"

#include <algorithm>
#include <cstring>

#include "base/thread_role.h"

namespace weft::device {

uint64_t EventState::Record() {
  std::lock_guard lock(mutex_);
  return ++recorded_;
}

void EventState::Complete(uint64_t ticket) {
  std::lock_guard lock(mutex_);
  completed_ = std::max(completed_, ticket);
  completed_changed_.notify_all();
}

uint64_t EventState::recorded() const {
  std::lock_guard lock(mutex_);
  return recorded_;
}

bool EventState::IsComplete() const {
  std::lock_guard lock(mutex_);
  return completed_ >= recorded_;
}

void EventState::WaitFor(uint64_t ticket) const {
  std::unique_lock lock(mutex_);
  completed_changed_.wait(lock, [&] { return completed_ >= ticket; });
}

void CpuEvent::Synchronize() const {
  AssertMayBlock("Event::Synchronize");
  state_->WaitFor(state_->recorded());
}

void CpuStream::Copy(std::byte* destination, const std::byte* source, Bytes bytes) {
  Call([=] { std::memcpy(destination, source, static_cast<size_t>(bytes)); });
}

void CpuStream::Fill(std::byte* destination, std::byte value, Bytes bytes) {
  Call([=] { std::memset(destination, std::to_integer<int>(value), static_cast<size_t>(bytes)); });
}

void CpuStream::Record(Event& event) {
  const std::shared_ptr<EventState> state = static_cast<CpuEvent&>(event).state();
  Call([state, ticket = state->Record()] { state->Complete(ticket); });
}

void CpuStream::WaitFor(const Event& event) {
  const std::shared_ptr<EventState> state = static_cast<const CpuEvent&>(event).state();
  Call([state, ticket = state->recorded()] { state->WaitFor(ticket); });
}

void CpuStream::Synchronize() {
  AssertMayBlock("Stream::Synchronize");
  CpuEvent event;
  Record(event);
  event.Synchronize();
}

}  // namespace weft::device
