#include "benchmarks/ceilings.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "ops/ceilings.h"

namespace weft {
namespace {

/// As `weft bench device` measures them, once a process for each number of threads.
const device::Ceilings& CeilingsOf(int threads) {
  static std::map<int, device::Ceilings> known;
  const auto [at, is_new] = known.try_emplace(threads);
  if (is_new) {
    const auto device = device::CreateCpuDevice();
    const SteadyClock clock;
    at->second = std::move(ops::MeasureCeilings(*device, threads, clock, RateRuns{})).value();
  }
  return at->second;
}

}  // namespace

void ReportShare(benchmark::State& state, int threads, DType dtype, double flop, double bytes) {
  const device::Ceilings& ceilings = CeilingsOf(threads);
  const device::Rate& rate = dtype == DType::kBFloat16 ? ceilings.bfloat16 : ceilings.float32;
  const double ideal = std::max(flop / rate.all, bytes / ceilings.memory_read.all);
  state.counters["of_ceiling"] =
      benchmark::Counter(ideal, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace weft
