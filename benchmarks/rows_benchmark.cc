// What is done to single rows, and the choice of tokens, on SmolLM2-135M's shapes, one thread. The
// rows stay in the caches, as in a step; the ceiling is that of memory, so a share above one says
// by how much the caches are faster.
#include <benchmark/benchmark.h>

#include "benchmarks/ceilings.h"
#include "benchmarks/packed_values.h"
#include "ops/cpu/sampler.h"

namespace weft {
namespace {

constexpr DType kDType = DType::kBFloat16;
constexpr int32_t kVocabulary = 49152;

std::vector<float> Values(int32_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] = 0.1F * static_cast<float>(i * 7919 % 137 - 68);
  return values;
}

void BM_RmsNorm(benchmark::State& state) {
  const auto n = static_cast<int32_t>(state.range(0));
  const std::vector<float> x = Values(n);
  const std::vector<float> weight = Values(n);
  std::vector<uint16_t> out(x.size());
  const ops::cpu::Kernels& kernels = BestKernels(kDType);
  for (auto _ : state) {
    kernels.rms_norm(x.data(), weight.data(), n, 1e-5F, out.data());
    benchmark::ClobberMemory();
  }
  ReportShare(state, 1, kDType, 0, 10.0 * n);
}
BENCHMARK(BM_RmsNorm)->UseRealTime()->Arg(576)->Arg(4096);

void BM_SiluMultiply(benchmark::State& state) {
  const auto n = static_cast<int32_t>(state.range(0));
  const std::vector<float> gate = Values(n);
  const std::vector<float> up = Values(n);
  std::vector<uint16_t> out(gate.size());
  const ops::cpu::Kernels& kernels = BestKernels(kDType);
  for (auto _ : state) {
    kernels.silu_multiply(gate.data(), up.data(), n, out.data());
    benchmark::ClobberMemory();
  }
  ReportShare(state, 1, kDType, 0, 10.0 * n);
}
BENCHMARK(BM_SiluMultiply)->UseRealTime()->Arg(32)->Arg(1536);

/// Arguments: temperature in tenths, top_k, top_p in hundredths.
void BM_Sample(benchmark::State& state) {
  const std::vector<float> logits = Values(kVocabulary);
  ops::cpu::Sampler sampler(BestKernels(kDType), kVocabulary, 1);
  auto params = std::make_shared<ops::SamplingParams>();
  params->temperature = static_cast<float>(state.range(0)) * 0.1F;
  params->top_k = static_cast<int32_t>(state.range(1));
  params->top_p = static_cast<float>(state.range(2)) * 0.01F;
  ops::SampleRow row;
  row.params = params;
  for (auto _ : state) {
    benchmark::DoNotOptimize(sampler.Sample(logits, row, 0));
    ++row.position;
  }
  ReportShare(state, 1, kDType, 0, 4.0 * kVocabulary);
}
BENCHMARK(BM_Sample)
    ->UseRealTime()
    ->Args({0, 0, 100})
    ->Args({8, 0, 100})
    ->Args({8, 50, 100})
    ->Args({8, 0, 90});

}  // namespace
}  // namespace weft
