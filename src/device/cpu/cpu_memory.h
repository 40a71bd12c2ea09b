#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "device/device.h"

namespace weft::device {

/// Zeroed memory of this process, every page of it present, on huge pages where the system gives
/// them. kResourceExhausted when the machine or the container has less to give.
Result<Buffer> AllocateMemory(Bytes bytes);

/// The same, for memory that nobody touches at once. Where making pages present is slow, they are
/// set aside first, which is quick, and become present in the background.
Result<Buffer> ReserveMemory(Bytes bytes);

/// What this process may use in all: the machine's memory, or the container's limit.
Bytes TotalMemory();
/// What is left of it now.
Bytes FreeMemory();

}  // namespace weft::device
