#include "benchmarks/ceilings.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "benchmarks/packed_values.h"
#include "ops/cpu/thread_team.h"

namespace weft {
namespace {

constexpr int kRuns = 9;

/// A ceiling is the best that was seen: what disturbs a run only lowers it.
template <typename Body>
double LeastSeconds(Body body) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count());
  }
  return least;
}

double MeasureMemory(device::Device& device, ops::cpu::ThreadTeam& team) {
  constexpr Bytes kSize = 256 * kMiB;
  constexpr int32_t kPieces = 512;
  const device::Buffer buffer = std::move(device.AllocateDevice(kSize)).value();
  std::vector<int64_t> sums(kPieces);
  const double seconds = LeastSeconds([&] {
    team.ParallelFor(kPieces, [&](int32_t piece, int) {
      const auto* words = reinterpret_cast<const int64_t*>(buffer.data() + kSize / kPieces * piece);
      int64_t sum = 0;
      for (Bytes i = 0; i < kSize / kPieces / 8; ++i) sum ^= words[i];
      sums[static_cast<size_t>(piece)] = sum;
    });
    benchmark::DoNotOptimize(sums.data());
  });
  return static_cast<double>(kSize) / seconds;
}

double MeasureArithmetic(device::Device& device, ops::cpu::ThreadTeam& team, DType dtype) {
  constexpr int32_t kRows = 24;
  constexpr int32_t kDepth = 256;
  constexpr int32_t kPanels = 2;
  constexpr int kRepeats = 512;
  const ops::cpu::Kernels& kernels = BestKernels(dtype);
  const device::Buffer a = SmallValues(device, dtype, kRows * kDepth);
  const device::Buffer b = SmallValues(device, dtype, kPanels * 16 * kDepth);
  const int32_t tasks = team.size() * 8;
  std::vector<std::vector<float>> c(static_cast<size_t>(tasks),
                                    std::vector<float>(kRows * kPanels * 16));
  const double seconds = LeastSeconds([&] {
    team.ParallelFor(tasks, [&](int32_t task, int) {
      const ops::cpu::GemmArgs args{a.data(),     kDepth, b.data(),
                                    16 * kDepth,  kDepth, c[static_cast<size_t>(task)].data(),
                                    kPanels * 16, kRows,  kPanels};
      for (int i = 0; i < kRepeats; ++i) kernels.gemm(args);
    });
  });
  return 2.0 * kRows * kDepth * kPanels * 16 * kRepeats * tasks / seconds;
}

}  // namespace

const Ceilings& CeilingsOf(int threads, DType dtype) {
  static std::map<std::pair<int, DType>, Ceilings> known;
  const auto [at, is_new] = known.try_emplace({threads, dtype});
  if (is_new) {
    const auto device = device::CreateCpuDevice();
    ops::cpu::ThreadTeam team(threads, "ceiling-");
    at->second = {MeasureArithmetic(*device, team, dtype), MeasureMemory(*device, team)};
  }
  return at->second;
}

void ReportShare(benchmark::State& state, int threads, DType dtype, double flop, double bytes) {
  const Ceilings& ceilings = CeilingsOf(threads, dtype);
  const double ideal = std::max(flop / ceilings.flop_per_second, bytes / ceilings.bytes_per_second);
  state.counters["of_ceiling"] =
      benchmark::Counter(ideal, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace weft
