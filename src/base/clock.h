#pragma once

#include <chrono>

namespace weft {

using Duration = std::chrono::nanoseconds;
/// A moment on a Clock's own axis. Only differences mean something.
using Moment = std::chrono::time_point<std::chrono::steady_clock, Duration>;

inline double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }
inline Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

/// Where time comes from, so that simulation can own it. Any thread may call Now().
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Moment Now() const = 0;
};

/// The machine's steady clock.
class SteadyClock final : public Clock {
 public:
  Moment Now() const override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
};

}  // namespace weft
