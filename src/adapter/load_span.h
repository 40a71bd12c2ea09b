#pragma once

#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/strong_id.h"

namespace weft::adapter {

/// One stretch of work on an adapter, for the trace: bytes read from a file, a layer converted and
/// packed, or neighbouring pages copied.
struct LoadSpan {
  enum class Kind : uint8_t { kRead, kConvert, kCopy };
  Kind kind = Kind::kRead;
  AdapterVersion version;
  Moment begin;
  Moment end;
  Bytes bytes = 0;
  int thread = 0;  ///< Which of the loader's threads; 0 for the copy thread.
};

/// Called on loader and copy threads, several at once; must return quickly. May be empty.
using LoadSpanSink = std::function<void(const LoadSpan&)>;

}  // namespace weft::adapter
