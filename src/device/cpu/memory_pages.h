#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace weft::device {

inline constexpr Bytes kHugePage = 2 * kMiB;
inline constexpr Bytes kSmallPage = 4 * kKiB;

/// Maps `size` bytes of zeros at a multiple of `alignment`, none of them present; null, with errno,
/// when the system refuses. From a huge page's size on they lie on huge pages where it gives them.
std::byte* MapPages(Bytes size, Bytes alignment);
void UnmapPages(std::byte* data, Bytes size);

/// Makes every page present, so that no later touch can fail or wait. 0, or the system's reason.
int MakePresent(std::byte* data, Bytes size);

/// What MakePresentInThreads has done: the first `bytes`.
struct PresentPart {
  Bytes bytes = 0;
  int error = 0;  ///< Not 0: the system's reason why it ended there.
};

/// How long clearing may take before the caller would rather do something else about the rest.
enum class Patience { kUntilSlow, kUnlimited };

/// MakePresent with as many threads as clear faster than one, each a huge page at a time: the
/// system clears pages on the processor that asks, and calls for memory of other threads wait for
/// one piece at most. kUntilSlow ends early where a page costs many times what clearing it takes,
/// as on a virtual machine whose host first has to find the memory.
PresentPart MakePresentInThreads(std::byte* data, Bytes size, Patience patience);

}  // namespace weft::device
