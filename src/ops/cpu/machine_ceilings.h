#pragma once

#include "base/dtype.h"
#include "device/device.h"
#include "ops/cpu/ceiling_loops.h"
#include "ops/cpu/thread_team.h"

namespace weft::ops::cpu {

/// Large enough that no cache holds a share of it that matters.
Bytes CeilingMemoryBytes();

/// One pass of each loop by all threads of `team`. They return the bytes or operations done.
double ReadMemory(ThreadTeam& team, const CeilingLoops& loops, const device::Buffer& memory);
/// Copies the first half of `memory` onto the second; counts the bytes copied.
double CopyMemory(ThreadTeam& team, const device::Buffer& memory);
double MultiplyInRegisters(ThreadTeam& team, const CeilingLoops& loops, DType dtype);

}  // namespace weft::ops::cpu
