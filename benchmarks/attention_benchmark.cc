// Attention of one kv head with three query heads of 64 (SmolLM2-135M), one thread.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "benchmarks/ceilings.h"
#include "benchmarks/packed_values.h"
#include "ops/kv_layout.h"

namespace weft {
namespace {

/// `rows` rows that end at `tokens` tokens, over pages of 16.
void BM_Attention(benchmark::State& state) {
  const auto device = device::CreateCpuDevice();
  const auto rows = static_cast<int32_t>(state.range(0));
  const auto tokens = static_cast<int32_t>(state.range(1));
  ModelConfig config;
  config.layers = 1;
  config.kv_heads = 1;
  config.head_dim = 64;
  constexpr int32_t kGroup = 3;
  const auto layout = ops::KvLayout::For(config, DType::kBFloat16, 0);
  const int32_t page_count = (tokens + 15) / 16;
  const device::Buffer arena =
      SmallValues(*device, DType::kBFloat16, page_count * layout.page_bytes / 2);
  std::vector<const std::byte*> pages;
  for (int32_t i = 0; i < page_count; ++i) pages.push_back(arena.data() + i * layout.page_bytes);
  const device::Buffer queries =
      SmallValues(*device, DType::kBFloat16, int64_t{rows} * kGroup * 64);
  const device::Buffer out = SmallValues(*device, DType::kBFloat16, int64_t{rows} * kGroup * 64);
  std::vector<std::byte> scratch(static_cast<size_t>(ops::cpu::AttentionScratchBytes(kGroup, 64)));
  const ops::cpu::Kernels& kernels = BestKernels(DType::kBFloat16);
  double flop = 0;
  constexpr int32_t kBlock = ops::cpu::kAttentionQueries / kGroup;
  for (int32_t r = 0; r < rows; ++r) flop += 4.0 * kGroup * 64 * (tokens - rows + r + 1);
  for (auto _ : state)
    for (int32_t first = 0; first < rows; first += kBlock) {
      ops::cpu::AttentionArgs args;
      args.queries = queries.data() + int64_t{first} * kGroup * 64 * 2;
      args.rows = std::min(kBlock, rows - first);
      args.group = kGroup;
      args.head_dim = 64;
      args.position = tokens - rows + first;
      args.tokens = tokens;
      args.pages = pages.data();
      args.groups_per_page = 1;
      args.group_bytes = layout.group_bytes();
      args.v_offset = layout.group_bytes();  // A head's K and V lie side by side.
      args.scale = 0.125F;
      args.out = out.data() + int64_t{first} * kGroup * 64 * 2;
      args.out_stride = kGroup * 64;
      args.scratch = scratch.data();
      kernels.attend(args);
    }
  state.counters["GFLOP/s"] =
      benchmark::Counter(flop * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  ReportShare(state, 1, DType::kBFloat16, flop, 0);
}
BENCHMARK(BM_Attention)
    ->UseRealTime()
    ->Args({1, 128})
    ->Args({1, 1024})
    ->Args({1, 8192})
    ->Args({512, 512})
    ->Args({512, 2048});

}  // namespace
}  // namespace weft
