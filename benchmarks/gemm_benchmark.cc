// The base matrix product on SmolLM2-135M's shapes, one thread, weights from memory as in a step.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "benchmarks/ceilings.h"
#include "benchmarks/packed_values.h"
#include "ops/cpu/packed_matrix.h"

namespace weft {
namespace {

/// As trained weights are spread: what the kernels' form of a panel depends on.
std::vector<float> NormalValues(int64_t count) {
  std::mt19937 generator(1);
  std::normal_distribution<float> distribution(0.0F, 0.02F);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(generator);
  return values;
}

void Gemm(benchmark::State& state, DType dtype) {
  const auto device = device::CreateCpuDevice();
  const ops::cpu::Kernels& kernels = BestKernels(dtype);
  const auto out = static_cast<int32_t>(state.range(0));
  const auto in = static_cast<int32_t>(state.range(1));
  const auto rows = static_cast<int32_t>(state.range(2));
  const int64_t weight = int64_t{out} * in;
  // With few rows a step reads every weight from memory; with many it computes for longer.
  const bool from_memory = rows <= 16;
  const Bytes wanted = from_memory ? 96 * kMiB : 12 * kMiB;
  const int64_t copies = wanted / (weight * SizeOf(dtype)) + 1;
  ops::cpu::WeightMemory memory(*device);
  std::vector<std::unique_ptr<ops::Matrix>> matrices;
  const std::vector<float> values = NormalValues(weight);
  for (int64_t copy = 0; copy < copies; ++copy) {
    matrices.push_back(
        std::move(ops::cpu::PackedMatrix::Create(memory, kernels, dtype, out, in)).value());
    matrices.back()->SetRows(0, out, values);
  }
  const device::Buffer a = SmallValues(*device, dtype, int64_t{rows} * in);
  std::vector<float> c(static_cast<size_t>(rows) * static_cast<size_t>(out));
  size_t copy = 0;
  constexpr int32_t kRowBlock = 192;
  for (auto _ : state) {
    const auto& matrix =
        static_cast<const ops::cpu::PackedMatrix&>(*matrices[copy++ % matrices.size()]);
    for (int32_t row = 0; row < rows; row += kRowBlock)
      for (int32_t panel = 0; panel < matrix.panels(); panel += 2) {
        ops::cpu::WeightGemmArgs args;
        args.a = a.data() + int64_t{row} * in * SizeOf(dtype);
        args.a_stride = in;
        args.panels = matrix.Panel(panel);
        args.panel_bytes = matrix.panel_bytes();
        args.panel_count = 2;
        args.in = in;
        args.k = in;
        args.c = c.data() + int64_t{row} * out + panel * 16;
        args.c_stride = out;
        args.rows = std::min(kRowBlock, rows - row);
        args.next = panel + 2 == matrix.panels() ? nullptr : matrix.Panel(panel + 2);
        kernels.weight_gemm(args);
      }
  }
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(weight) * rows,
                                                 benchmark::Counter::kIsIterationInvariantRate);
  const Bytes bytes = matrices[0]->bytes();
  state.SetBytesProcessed(state.iterations() * bytes);
  ReportShare(state, 1, dtype, 2.0 * static_cast<double>(weight) * rows,
              from_memory ? static_cast<double>(bytes) : 0.0);
}

void Shapes(benchmark::internal::Benchmark* benchmark) {
  for (const int64_t rows : {1, 8, 64, 512}) {
    benchmark->Args({192, 576, rows})->Args({576, 576, rows})->Args({1536, 576, rows});
    benchmark->Args({576, 1536, rows});
    if (rows <= 64) benchmark->Args({49152, 576, rows});
  }
}

void BM_GemmBfloat16(benchmark::State& state) { Gemm(state, DType::kBFloat16); }
void BM_GemmFloat32(benchmark::State& state) { Gemm(state, DType::kFloat32); }
BENCHMARK(BM_GemmBfloat16)->Apply(Shapes)->UseRealTime();
BENCHMARK(BM_GemmFloat32)
    ->UseRealTime()
    ->Args({1536, 576, 1})
    ->Args({1536, 576, 8})
    ->Args({1536, 576, 512});

}  // namespace
}  // namespace weft
