#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace weft::sim {

/// A clock that stands still until it is moved.
class VirtualClock final : public Clock {
 public:
  Moment Now() const override { return now_; }
  void MoveTo(Moment moment) { now_ = moment; }

 private:
  Moment now_{};
};

/// What will happen, by time; of things at the same moment, what was scheduled first happens first.
class EventQueue {
 public:
  explicit EventQueue(VirtualClock& clock) : clock_(clock) {}

  void After(Duration delay, std::function<void()> action) {
    events_.emplace(std::make_pair(clock_.Now() + delay, next_++), std::move(action));
  }
  /// Moves the clock to the next event and runs it. False when there is none.
  bool RunNext() {
    if (events_.empty()) return false;
    auto event = events_.extract(events_.begin());
    clock_.MoveTo(event.key().first);
    event.mapped()();
    return true;
  }
  bool empty() const { return events_.empty(); }

 private:
  VirtualClock& clock_;
  std::map<std::pair<Moment, int64_t>, std::function<void()>> events_;
  int64_t next_ = 0;
};

/// Runs a turn when the engine asks for one (Engine::NextTurn), once for each moment it names.
class TurnTimer {
 public:
  TurnTimer(EventQueue& events, const Clock& clock, std::function<void()> turn)
      : events_(events), clock_(clock), turn_(std::move(turn)) {}

  /// After each turn.
  void Arm(std::optional<Moment> next) {
    if (!next || next == armed_for_) return;
    events_.After(std::max(*next - clock_.Now(), Duration{}), turn_);
    armed_for_ = next;
  }

 private:
  EventQueue& events_;
  const Clock& clock_;
  const std::function<void()> turn_;
  std::optional<Moment> armed_for_;
};

}  // namespace weft::sim
