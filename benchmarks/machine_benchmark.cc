// What the machine can do at the moment: the ceilings that the other figures are a share of.
#include <benchmark/benchmark.h>

#include <cstring>
#include <numeric>

#include "benchmarks/packed_values.h"
#include "ops/cpu/thread_team.h"

namespace weft {
namespace {

/// Reads 256 MiB with a team of threads.
void BM_MemoryRead(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  constexpr Bytes kSize = 256 * kMiB;
  constexpr int32_t kPieces = 512;
  const device::Buffer buffer = std::move(device->AllocateDevice(kSize)).value();
  ops::cpu::ThreadTeam team(static_cast<int>(state.range(0)), "bench-");
  std::vector<int64_t> sums(kPieces);
  for (auto _ : state) {
    team.ParallelFor(kPieces, [&](int32_t piece, int) {
      const auto* words = reinterpret_cast<const int64_t*>(buffer.data() + kSize / kPieces * piece);
      int64_t sum = 0;
      for (Bytes i = 0; i < kSize / kPieces / 8; ++i) sum ^= words[i];
      sums[static_cast<size_t>(piece)] = sum;
    });
    benchmark::DoNotOptimize(sums.data());
  }
  state.SetBytesProcessed(state.iterations() * kSize);
}
BENCHMARK(BM_MemoryRead)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// Matrix products whose operands stay in the caches: the arithmetic ceiling.
void BM_ArithmeticCeiling(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  const auto threads = static_cast<int32_t>(state.range(0));
  const ops::cpu::Kernels& kernels = BestKernels(DType::kBFloat16);
  constexpr int32_t kRows = 24;
  constexpr int32_t kDepth = 256;
  constexpr int32_t kPanels = 2;
  constexpr int kRepeats = 64;
  const device::Buffer a = SmallValues(*device, DType::kBFloat16, kRows * kDepth);
  const device::Buffer b = SmallValues(*device, DType::kBFloat16, kPanels * 16 * kDepth);
  std::vector<std::vector<float>> c(static_cast<size_t>(threads) * 16,
                                    std::vector<float>(kRows * kPanels * 16));
  ops::cpu::ThreadTeam team(threads, "bench-");
  const int32_t tasks = threads * 16;
  for (auto _ : state)
    team.ParallelFor(tasks, [&](int32_t task, int) {
      ops::cpu::GemmArgs args;
      args.a = a.data();
      args.a_stride = kDepth;
      args.b = b.data();
      args.b_stride = 16 * kDepth;
      args.k = kDepth;
      args.c = c[static_cast<size_t>(task)].data();
      args.c_stride = kPanels * 16;
      args.rows = kRows;
      args.panels = kPanels;
      for (int i = 0; i < kRepeats; ++i) kernels.gemm(args);
    });
  const double flop = 2.0 * kRows * kDepth * kPanels * 16 * kRepeats * tasks;
  state.counters["GFLOP/s"] =
      benchmark::Counter(flop * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
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
