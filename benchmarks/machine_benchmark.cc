// What the machine can do at the moment: the ceilings that the other figures are a share of. The
// loops are those of `weft bench device`.
#include <benchmark/benchmark.h>

#include "benchmarks/packed_values.h"
#include "ops/cpu/machine_ceilings.h"
#include "ops/cpu/thread_team.h"

namespace weft {
namespace {

const ops::cpu::CeilingLoops& Loops() {
  ops::cpu::Isa isa;
  WEFT_CHECK(ops::cpu::ChooseIsa(&isa));
  return ops::cpu::CeilingLoopsFor(isa);
}

void BM_MemoryRead(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  const device::Buffer buffer =
      std::move(device->AllocateDevice(ops::cpu::CeilingMemoryBytes())).value();
  ops::cpu::ThreadTeam team(static_cast<int>(state.range(0)), "bench-");
  for (auto _ : state) ops::cpu::ReadMemory(team, Loops(), buffer);
  state.SetBytesProcessed(state.iterations() * buffer.size());
}
BENCHMARK(BM_MemoryRead)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_ArithmeticCeiling(benchmark::State& state) {
  ops::cpu::ThreadTeam team(static_cast<int>(state.range(0)), "bench-");
  double operations = 0;
  for (auto _ : state) operations += ops::cpu::MultiplyInRegisters(team, Loops(), DType::kBFloat16);
  state.counters["GFLOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(BM_ArithmeticCeiling)->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime();

/// What a parallel loop costs when its tasks do nothing.
void BM_TeamLoop(benchmark::State& state) {
  ops::cpu::ThreadTeam team(static_cast<int>(state.range(0)), "bench-");
  for (auto _ : state)
    team.ParallelFor(8, [](int32_t task, int) { benchmark::DoNotOptimize(task); });
}
BENCHMARK(BM_TeamLoop)->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace weft
