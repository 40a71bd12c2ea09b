// The two halves of a LoRA on SmolLM2-135M's gate projection (576 -> 1536), one thread.
#include <benchmark/benchmark.h>

#include "benchmarks/ceilings.h"
#include "benchmarks/packed_values.h"

namespace weft {
namespace {

constexpr int32_t kIn = 576;
constexpr int32_t kOut = 1536;

void BM_LoraShrink(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  const auto rank = static_cast<int32_t>(state.range(0));
  const auto rows = static_cast<int32_t>(state.range(1));
  const device::Buffer x = SmallValues(*device, DType::kBFloat16, int64_t{rows} * kIn);
  const device::Buffer a = SmallValues(*device, DType::kBFloat16, int64_t{rank} * kIn);
  const device::Buffer out = SmallValues(*device, DType::kBFloat16, int64_t{rows} * rank);
  const ops::cpu::Kernels& kernels = BestKernels(DType::kBFloat16);
  for (auto _ : state)
    for (int32_t first = 0; first < rank; first += 16) {
      ops::cpu::ShrinkArgs args;
      args.x = x.data();
      args.x_stride = kIn;
      args.rows = rows;
      args.in = kIn;
      args.tile = a.data() + int64_t{first} * kIn * 2;
      args.width = 16;
      args.scaling = 2.0F;
      args.out = out.data() + first * 2;
      args.out_stride = rank;
      kernels.shrink(args);
    }
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * kIn * rank * rows, benchmark::Counter::kIsIterationInvariantRate);
  ReportShare(state, 1, DType::kBFloat16, 2.0 * kIn * rank * rows, 0);
}
BENCHMARK(BM_LoraShrink)->UseRealTime()->ArgsProduct({{16, 64, 128}, {1, 8, 64, 512}});

void BM_LoraExpand(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  const auto rank = static_cast<int32_t>(state.range(0));
  const auto rows = static_cast<int32_t>(state.range(1));
  const device::Buffer low = SmallValues(*device, DType::kBFloat16, int64_t{rows} * rank);
  const device::Buffer b = SmallValues(*device, DType::kBFloat16, int64_t{rank} * kOut);
  std::vector<float> c(static_cast<size_t>(rows) * 32);
  const ops::cpu::Kernels& kernels = BestKernels(DType::kBFloat16);
  for (auto _ : state)
    for (int32_t panel = 0; panel < kOut / 16; panel += 2)
      for (int32_t first = 0; first < rank; first += 16) {
        ops::cpu::GemmArgs args;
        args.a = low.data() + first * 2;
        args.a_stride = rank;
        args.b = b.data() + (int64_t{first} * kOut + panel * 16 * 16) * 2;
        args.b_stride = 16 * 16;
        args.k = 16;
        args.c = c.data();
        args.c_stride = 32;
        args.rows = rows;
        args.panels = 2;
        args.accumulate = true;
        kernels.gemm(args);
      }
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * kOut * rank * rows, benchmark::Counter::kIsIterationInvariantRate);
  ReportShare(state, 1, DType::kBFloat16, 2.0 * kOut * rank * rows, 0);
}
BENCHMARK(BM_LoraExpand)->UseRealTime()->ArgsProduct({{16, 64, 128}, {1, 8, 64, 512}});

}  // namespace
}  // namespace weft
