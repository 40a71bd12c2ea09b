#pragma once

#include "base/clock.h"
#include "base/median_rate.h"
#include "base/result.h"
#include "device/ceilings.h"
#include "device/device.h"

namespace weft::ops {

/// Measures what `device` can do: with one of its threads, and with `threads` of them. Takes the
/// runs' time once for each of eight figures and some memory meanwhile, and blocks; the figures
/// mean something only while nothing else computes. Errors: no memory, a processor without AVX2.
Result<device::Ceilings> MeasureCeilings(device::Device& device, int threads, const Clock& clock,
                                         const RateRuns& runs);

}  // namespace weft::ops
