// Whole steps of SmolLM2-135M's shape with dummy weights, bf16, two threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "base/bfloat16.h"
#include "benchmarks/ceilings.h"
#include "device/device.h"
#include "model/transformer.h"

namespace weft {
namespace {

ModelConfig SmolLm() {
  ModelConfig config;
  config.name = "SmolLM2-135M";
  config.vocabulary = 49152;
  config.hidden = 576;
  config.intermediate = 1536;
  config.layers = 30;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.context_length = 8192;
  config.rope.theta = 100000.0;
  config.tied_embeddings = true;
  return config;
}

/// A model, an arena of pages and adapters, made once for all benchmarks.
class Machine {
 public:
  static Machine& Get() {
    static Machine machine;
    return machine;
  }

  model::Transformer& transformer() { return *transformer_; }

  PageIndex TakePage() { return PageIndex(1 + next_page_++ % (kPages - 1)); }

  /// Adapter number `index` of `rank`, on all seven projections, in memory as an image is: tile
  /// after tile, layer by layer.
  std::shared_ptr<const ops::AdapterTable> Adapter(int32_t rank, int32_t index) {
    auto& adapter = adapters_[{rank, index}];
    if (adapter == nullptr) adapter = MakeAdapter(rank, index);
    return adapter;
  }

 private:
  static constexpr int32_t kPages = 2048;

  Machine() : device_(device::CreateCpuDevice()) {
    model::TransformerOptions options;
    options.threads = 2;
    options.max_rows = 1024;
    transformer_ =
        std::move(model::Transformer::Create(SmolLm(), nullptr, *device_, options)).value();
    arena_ =
        std::move(device_->AllocateDevice(kPages * transformer_->kv_layout().page_bytes)).value();
    transformer_->BindPages(arena_.data(), kPages);
  }

  std::shared_ptr<const ops::AdapterTable> MakeAdapter(int32_t rank, int32_t index) {
    auto table = std::make_shared<ops::AdapterTable>();
    const ModelConfig config = SmolLm();
    std::mt19937 generator(static_cast<uint32_t>(index));
    std::normal_distribution<float> distribution(0.0F, 0.02F);
    const auto widths = ops::RankTileWidths(rank);
    table->tiles.reserve(widths.size() * kProjectionCount * static_cast<size_t>(config.layers));
    Bytes bytes = 0;
    for (const Projection projection : kAllProjections)
      for (const int32_t width : widths)
        bytes += Bytes{width} * (config.InputSize(projection) + config.OutputSize(projection)) * 2;
    images_.push_back(std::move(device_->AllocateDevice(bytes * config.layers)).value());
    std::byte* next = images_.back().data();
    const auto& packer = transformer_->tile_packer();
    std::vector<float> values(size_t{16} * 1536);
    for (float& value : values) value = distribution(generator);
    for (int32_t layer = 0; layer < config.layers; ++layer)
      for (const Projection projection : kAllProjections) {
        const size_t begin = table->tiles.size();
        for (const int32_t width : widths) {
          const int32_t in = config.InputSize(projection);
          const int32_t out = config.OutputSize(projection);
          std::byte* a = std::exchange(next, next + Bytes{width} * in * 2);
          std::byte* b = std::exchange(next, next + Bytes{width} * out * 2);
          packer.PackA(std::span(values).first(static_cast<size_t>(width * in)), width, width, in,
                       a);
          packer.PackB(std::span(values).first(static_cast<size_t>(width * out)), width, 0, width,
                       width, out, b);
          table->tiles.push_back({a, b, width});
        }
        table->modules.push_back({std::span(table->tiles).subspan(begin), 1.0F});
      }
    return table;
  }

  std::unique_ptr<device::Device> device_;
  std::unique_ptr<model::Transformer> transformer_;
  device::Buffer arena_;
  std::vector<device::Buffer> images_;
  std::map<std::pair<int32_t, int32_t>, std::shared_ptr<const ops::AdapterTable>> adapters_;
  int32_t next_page_ = 0;
};

/// `sequences` of `rows` rows each, after `position` tokens; each samples one token.
model::ForwardBatch MakeBatch(int32_t sequences, int32_t rows, int32_t position, int32_t rank) {
  Machine& machine = Machine::Get();
  model::ForwardBatch batch;
  auto params = std::make_shared<ops::SamplingParams>();
  params->temperature = 0.0F;
  for (int32_t s = 0; s < sequences; ++s) {
    model::SequenceSlice slice;
    slice.rows = rows;
    slice.position = position;
    slice.first_logits_row = rows - 1;
    for (int32_t t = 0; t < position + rows; t += 16) slice.pages.push_back(machine.TakePage());
    if (rank > 0) slice.adapter = machine.Adapter(rank, s);
    for (int32_t r = 0; r < rows; ++r)
      batch.tokens.push_back((s * 7919 + r * 104729) % SmolLm().vocabulary);
    ops::SampleRow sample;
    sample.logits_row = s;
    sample.params = params;
    batch.samples.push_back(sample);
    batch.slices.push_back(std::move(slice));
  }
  return batch;
}

/// What a step must compute, and read from memory: every weight once, the KV of each sequence, its
/// own adapter.
void ReportStep(benchmark::State& state, int32_t sequences, int32_t rows, int32_t position,
                int32_t rank) {
  const ModelConfig config = SmolLm();
  double layer = 0;
  double adapter = 0;
  for (const Projection projection : kAllProjections) {
    const double in = config.InputSize(projection);
    const double out = config.OutputSize(projection);
    layer += in * out;
    adapter += (in + out) * rank;
  }
  const double head = double(config.vocabulary) * config.hidden;
  const double all_rows = double(sequences) * rows;
  const double context = position + (rows + 1) / 2.0;
  const double attention = 4.0 * context * config.heads * config.head_dim;
  const double kv = 4.0 * (position + rows) * config.kv_heads * config.head_dim;
  const auto weights = static_cast<double>(Machine::Get().transformer().weight_bytes());
  ReportShare(
      state, 2, DType::kBFloat16,
      2.0 * sequences * head + all_rows * config.layers * (2.0 * (layer + adapter) + attention),
      weights + config.layers * sequences * (2.0 * adapter + kv));
  state.counters["tokens/s"] =
      benchmark::Counter(all_rows, benchmark::Counter::kIsIterationInvariantRate);
}

void RunStep(benchmark::State& state, int32_t sequences, int32_t rows, int32_t position,
             int32_t rank) {
  const model::ForwardBatch batch = MakeBatch(sequences, rows, position, rank);
  for (auto _ : state) benchmark::DoNotOptimize(Machine::Get().transformer().Run(batch));
  ReportStep(state, sequences, rows, position, rank);
}

/// Arguments: sequences, rank of each sequence's own adapter (0: none). 128 tokens of context.
void BM_Decode(benchmark::State& state) {
  RunStep(state, static_cast<int32_t>(state.range(0)), 1, 128,
          static_cast<int32_t>(state.range(1)));
}
BENCHMARK(BM_Decode)
    ->ArgsProduct({{1, 8, 32}, {0, 16}})
    ->Args({8, 64})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_DecodeLongContext(benchmark::State& state) {
  RunStep(state, 1, 1, static_cast<int32_t>(state.range(0)), 0);
}
BENCHMARK(BM_DecodeLongContext)
    ->Arg(2000)
    ->Arg(8000)
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// Arguments: sequences, rows of each, rank.
void BM_Prefill(benchmark::State& state) {
  RunStep(state, static_cast<int32_t>(state.range(0)), static_cast<int32_t>(state.range(1)), 0,
          static_cast<int32_t>(state.range(2)));
}
BENCHMARK(BM_Prefill)
    ->Args({1, 512, 0})
    ->Args({1, 512, 16})
    ->Args({1, 512, 64})
    ->Args({8, 128, 0})
    ->Args({8, 128, 16})
    ->Args({1, 64, 0})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// A prompt in chunks, as the server takes it. Arguments: tokens, rows of a chunk, rank.
void BM_PrefillInChunks(benchmark::State& state) {
  const auto tokens = static_cast<int32_t>(state.range(0));
  const auto chunk = static_cast<int32_t>(state.range(1));
  const auto rank = static_cast<int32_t>(state.range(2));
  std::vector<model::ForwardBatch> chunks;
  const std::vector<PageIndex> pages = MakeBatch(1, tokens, 0, 0).slices.front().pages;
  for (int32_t position = 0; position < tokens; position += chunk) {
    chunks.push_back(MakeBatch(1, chunk, position, rank));
    chunks.back().slices.front().pages = pages;
    if (position + chunk == tokens) break;
    chunks.back().samples.clear();
    chunks.back().slices.front().first_logits_row = chunk;
  }
  for (auto _ : state)
    for (const model::ForwardBatch& step : chunks)
      benchmark::DoNotOptimize(Machine::Get().transformer().Run(step));
  ReportStep(state, 1, tokens, 0, rank);
}
BENCHMARK(BM_PrefillInChunks)
    ->Args({2048, 512, 0})
    ->Args({2048, 512, 16})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// A decode of eight sequences while another thread of the process copies and converts without
/// pause, as a loader does.
void BM_DecodeBesideLoader(benchmark::State& state) {
  const model::ForwardBatch batch = MakeBatch(8, 1, 128, 0);
  std::atomic<bool> stop{false};
  std::thread loader([&stop] {
    std::vector<float> from(1 << 20, 1.0F);
    std::vector<uint16_t> to(from.size());
    while (!stop)
      for (size_t i = 0; i < from.size(); ++i) to[i] = ToBFloat16(from[i]).bits;
  });
  for (auto _ : state) benchmark::DoNotOptimize(Machine::Get().transformer().Run(batch));
  stop = true;
  loader.join();
}
BENCHMARK(BM_DecodeBesideLoader)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace weft
