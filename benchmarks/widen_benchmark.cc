// Widening what a model file stores to float, as loading does: bytes in the second-level cache, one
// thread.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "checkpoint/half_float.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

constexpr int64_t kElements = 1 << 16;

void BM_Widen(benchmark::State& state) {
  const auto type = static_cast<StoredType>(state.range(0));
  std::vector<std::byte> raw(static_cast<size_t>(StoredBytes(type, kElements)));
  // Every half is a number of ordinary size, wherever it lies.
  const uint16_t half = FloatToHalf(0.1F);
  for (size_t i = 0; i + 2 <= raw.size(); i += 2) std::memcpy(&raw[i], &half, 2);
  std::vector<float> floats(kElements);
  for (auto _ : state) {
    WidenToFloat(type, raw, floats);
    benchmark::DoNotOptimize(floats.data());
    benchmark::ClobberMemory();
  }
  state.SetLabel(std::string(StoredTypeName(type)));
  state.SetItemsProcessed(state.iterations() * kElements);
}
BENCHMARK(BM_Widen)->DenseRange(0, static_cast<int>(StoredType::kQ6_K));

}  // namespace
}  // namespace weft::checkpoint
