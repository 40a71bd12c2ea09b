#pragma once

#include <mutex>

#include "base/bytes.h"
#include "base/clock.h"

namespace weft::adapter {

/// A token bucket that caps a rate of bytes (`--lora-read-bandwidth`, `--lora-copy-bandwidth`). It
/// only computes; the caller does the waiting, so that it can be woken. What was not used is kept
/// for kCredit, which makes up for waits that end late. Any thread may call; nothing blocks.
class Throttle {
 public:
  static constexpr Duration kCredit = std::chrono::milliseconds(20);

  /// The largest piece that should be moved at once, at most `usual`: so little that a second has
  /// fifty. With it, and what kCredit adds, any second moves the capped rate within 5 %.
  static Bytes PieceUnder(Bytes bytes_per_second, Bytes usual);

  /// 0: no cap.
  explicit Throttle(Bytes bytes_per_second);

  /// Takes `bytes` from the bucket; the answer is how long to wait before they may be moved. A
  /// transfer may be larger than the bucket: the ones after it wait the longer.
  Duration Reserve(Bytes bytes, Moment now);
  /// How long the next Reserve would make its caller wait.
  Duration Delay(Moment now) const;

 private:
  const Bytes bytes_per_second_;
  mutable std::mutex mutex_;
  Moment paid_until_{};  ///< When the last reservation has been paid for.
};

}  // namespace weft::adapter
