#include "adapter/throttle.h"

#include <algorithm>

#include "base/check.h"

namespace weft::adapter {

Throttle::Throttle(Bytes bytes_per_second) : bytes_per_second_(bytes_per_second) {
  WEFT_CHECK(bytes_per_second >= 0);
}

Bytes Throttle::PieceUnder(Bytes bytes_per_second, Bytes usual) {
  constexpr Bytes kPiecesASecond = 50;
  if (bytes_per_second == 0) return usual;
  return std::clamp<Bytes>(bytes_per_second / kPiecesASecond, 1, usual);
}

Duration Throttle::Reserve(Bytes bytes, Moment now) {
  if (bytes_per_second_ == 0) return Duration::zero();
  std::lock_guard lock(mutex_);
  const Moment start = std::max(paid_until_, now - kCredit);
  paid_until_ =
      start + FromSeconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  return std::max(Duration::zero(), start - now);
}

Duration Throttle::Delay(Moment now) const {
  if (bytes_per_second_ == 0) return Duration::zero();
  std::lock_guard lock(mutex_);
  return std::max(Duration::zero(), paid_until_ - now);
}

}  // namespace weft::adapter
