#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace weft::engine {

/// How long a step will surely take, from those that have ended: rather too short than too long.
/// Decodes change little from one to the next; prefills take their time by the row. One thread.
class StepForecast {
 public:
  void Observe(int32_t prefill_rows, Duration took);
  /// Zero while nothing like it has ended.
  Duration AtLeast(int32_t prefill_rows) const;

 private:
  /// The least of the last few, zero while there are none.
  class Recent {
   public:
    void Add(Duration value);
    Duration Least() const;

   private:
    std::array<Duration, 4> values_{};
    size_t next_ = 0;
    size_t count_ = 0;
  };

  Recent decode_;
  Recent prefill_row_;
};

}  // namespace weft::engine
