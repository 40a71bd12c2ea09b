// Times of whole steps of Llama-3.1-8B's shape with dummy weights: decode at several batch sizes,
// prefill, and both at once, with and without adapters of rank 128 on every projection. One line of
// JSON for each; medians of wall time around Transformer::Run, which ends with the sampled tokens
// on the host, and from step to step with the next one queued ahead, with the time for which the
// device stands still between two. Some decodes also beside copies to the device that never pause,
// as adapters' are.
//
//   weft_step_benchmark [cuda|cpu] [layers] [steps] [part of a name: only such steps]
//
// With WEFT_CACHE set, matrix products are measured at the start and what was chosen is kept there.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "device/device.h"
#include "model/transformer.h"

namespace weft {
namespace {

constexpr int32_t kPages = 4096;
constexpr int32_t kRank = 128;
constexpr int kAdapters = 12;
constexpr int kDefaultSteps = 40;

ModelConfig Llama8B(int32_t layers) {
  ModelConfig config;
  config.name = "llama-3.1-8b";
  config.vocabulary = 128256;
  config.hidden = 4096;
  config.intermediate = 14336;
  config.layers = layers;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.context_length = 131072;
  config.rope = {500000.0, RopeScaling::kLlama3, 8.0, 1.0, 4.0, 8192};
  return config;
}

/// What may not fail here; says why it did.
template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(result).value();
}

/// An adapter of rank 128 on every projection; its weights are one small number.
class Adapter {
 public:
  Adapter(device::Device& device, const ModelConfig& config) {
    int64_t elements = 0;
    for (const Projection projection : kAllProjections)
      elements += int64_t{kRank} * (config.InputSize(projection) + config.OutputSize(projection));
    memory_ = Must(device.AllocateDevice(elements * config.layers * 2));
    auto stream = device.CreateStream(device::StreamPriority::kCopy, "fill");
    stream->Fill(memory_.data(), std::byte{0x39}, memory_.size());
    stream->Synchronize();
    auto table = std::make_shared<ops::AdapterTable>();
    constexpr size_t kTiles = kRank / ops::kRankTile;
    table->tiles.reserve(static_cast<size_t>(config.layers) * kProjectionCount * kTiles);
    const std::byte* next = memory_.data();
    for (int32_t layer = 0; layer < config.layers; ++layer)
      for (const Projection projection : kAllProjections) {
        const size_t first = table->tiles.size();
        for (size_t i = 0; i < kTiles; ++i) {
          const std::byte* b = next + int64_t{ops::kRankTile} * config.InputSize(projection) * 2;
          table->tiles.push_back({next, b, ops::kRankTile});
          next = b + int64_t{ops::kRankTile} * config.OutputSize(projection) * 2;
        }
        table->modules.push_back({std::span(table->tiles).subspan(first), 2.0F});
      }
    table_ = std::move(table);
  }
  const std::shared_ptr<const ops::AdapterTable>& table() const { return table_; }

 private:
  device::Buffer memory_;
  std::shared_ptr<const ops::AdapterTable> table_;
};

/// Copies to the device for as long as it lives, in pieces and as many at once as the copier's.
class BusyLink {
 public:
  BusyLink(device::Device& device, Bytes piece)
      : piece_(piece),
        host_(Must(device.AllocateHost(kBytes))),
        target_(Must(device.AllocateDevice(kBytes))),
        stream_(device.CreateStream(device::StreamPriority::kCopy, "copies")),
        begin_(std::chrono::steady_clock::now()),
        thread_([this, &device] { Copy(device); }) {}
  ~BusyLink() {
    stop_ = true;
    thread_.join();
  }
  double gigabytes_per_second() const {
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin_;
    return static_cast<double>(copied_) / 1e9 / time.count();
  }

 private:
  static constexpr Bytes kBytes = 256 * kMiB;

  void Copy(device::Device& device) {
    std::array<std::unique_ptr<device::Event>, 4> landed;
    for (auto& event : landed) event = device.CreateEvent();
    for (Bytes next = 0; !stop_; next = (next + piece_) % kBytes) {
      device::Event& event = *landed[static_cast<size_t>(next / piece_) % landed.size()];
      event.Synchronize();
      stream_->Copy(target_.data() + next, host_.data() + next, piece_);
      stream_->Record(event);
      copied_ += piece_;
    }
    stream_->Synchronize();
  }

  const Bytes piece_;
  device::Buffer host_;
  device::Buffer target_;
  std::unique_ptr<device::Stream> stream_;
  std::atomic<Bytes> copied_{0};
  std::atomic<bool> stop_{false};
  const std::chrono::steady_clock::time_point begin_;
  std::thread thread_;
};

/// The model with a pool of pages; sequences get pages of their own.
class Bench {
 public:
  Bench(std::unique_ptr<device::Device> device, int32_t layers, int steps, std::string wanted)
      : device_(std::move(device)),
        config_(Llama8B(layers)),
        steps_(steps),
        wanted_(std::move(wanted)) {
    model::TransformerOptions options;
    options.threads = 16;
    options.max_rows = 2048 + 64;
    if (const char* folder = std::getenv("WEFT_CACHE")) options.measured_folder = folder;
    const auto begin = std::chrono::steady_clock::now();
    model_ = Must(model::Transformer::Create(config_, nullptr, *device_, options));
    Report("load dummy weights, s", Since(begin) / 1000.0);
    arena_ = Must(device_->AllocateDevice(kPages * model_->kv_layout().page_bytes));
    model_->BindPages(arena_.data(), kPages);
    const auto warm = std::chrono::steady_clock::now();
    model_->WarmUp();
    Report("warm-up, s", Since(warm) / 1000.0);
    for (int i = 0; i < kAdapters; ++i) adapters_.emplace_back(*device_, config_);
  }

  /// A decode while the link is never idle, and what the link does meanwhile.
  void MeasureBesideCopies(const std::string& name, int32_t sequences, int32_t position,
                           int adapters) {
    for (const Bytes piece : {4 * kMiB, 8 * kMiB, 16 * kMiB}) {
      const std::string beside = name + ", beside copies of " + FormatBytes(piece);
      if (!IsWanted(beside)) continue;
      const BusyLink link(*device_, piece);
      Measure(beside, sequences, 1, position, adapters);
      Report("copies beside it, GB/s", link.gigabytes_per_second());
    }
  }

  /// The median over steps of `sequences` with `rows` each from `position` on.
  void Measure(const std::string& name, int32_t sequences, int32_t rows, int32_t position,
               int adapters) {
    if (!IsWanted(name)) return;
    model::ForwardBatch batch;
    Append(sequences, rows, position, adapters, batch);
    Measure(name, batch, rows > 1 ? std::max(steps_ / 4, 1) : steps_);
  }

  /// A decode of sequences whose lengths lie evenly between two, in no order.
  void MeasureUneven(const std::string& name, int32_t sequences, int32_t shortest, int32_t longest,
                     int adapters) {
    if (!IsWanted(name)) return;
    constexpr int32_t kStride = 7;
    WEFT_CHECK(sequences % kStride != 0);
    model::ForwardBatch batch;
    for (int32_t i = 0; i < sequences; ++i)
      Append(1, 1, shortest + i * kStride % sequences * (longest - shortest) / (sequences - 1),
             adapters, batch);
    Measure(name, batch, steps_);
  }

  /// A prefill beside decodes, each with its adapter or all with none.
  void MeasureMixed(const std::string& name, int32_t prefill, int32_t decodes, int32_t position,
                    int adapters) {
    if (!IsWanted(name)) return;
    model::ForwardBatch batch;
    Append(1, prefill, 0, adapters, batch);
    Append(decodes, 1, position, adapters, batch);
    Measure(name, batch, std::max(steps_ / 4, 1));
  }

 private:
  void Append(int32_t sequences, int32_t rows, int32_t position, int adapters,
              model::ForwardBatch& batch) const {
    const int32_t per_page = model_->kv_layout().tokens_per_page;
    const auto params = std::make_shared<ops::SamplingParams>();
    params->temperature = 0.0F;
    int32_t page = 1;
    for (const auto& slice : batch.slices) page += static_cast<int32_t>(slice.pages.size());
    const auto before = static_cast<int32_t>(batch.slices.size());
    for (int32_t i = before; i < before + sequences; ++i) {
      model::SequenceSlice slice;
      slice.rows = rows;
      slice.position = position;
      for (int32_t at = 0; at < position + rows; at += per_page) slice.pages.emplace_back(page++);
      if (adapters > 0) slice.adapter = adapters_[static_cast<size_t>(i % adapters)].table();
      slice.first_logits_row = rows - 1;
      ops::SampleRow sample;
      sample.logits_row = static_cast<int32_t>(batch.slices.size());
      sample.params = params;
      batch.slices.push_back(std::move(slice));
      batch.samples.push_back(sample);
      for (int32_t r = 0; r < rows; ++r) batch.tokens.push_back((i * 977 + r * 31) % 128000);
    }
    WEFT_CHECK(page <= kPages);
  }

  void Measure(const std::string& name, const model::ForwardBatch& batch, int steps) {
    for (int i = 0; i < 3; ++i) model_->Run(batch);
    std::vector<double> alone;
    for (int i = 0; i < steps; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      model_->Run(batch);
      alone.push_back(Since(begin));
    }
    std::vector<double> ahead;
    std::vector<double> idle;
    model::StartedStep current = model_->Start(batch);
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < steps; ++i) {
      model::StartedStep next = model_->Start(batch);
      ops::StepTimes times;
      model_->Finish(std::move(current), &times);
      current = std::move(next);
      ahead.push_back(Since(std::exchange(begin, std::chrono::steady_clock::now())));
      idle.push_back(Seconds(times.idle) * 1e6);
    }
    model_->Finish(std::move(current));
    std::printf(
        "{\"step\": \"%s\", \"median_ms\": %.3f, \"min_ms\": %.3f, \"p90_ms\": %.3f, "
        "\"queued_ahead_ms\": %.3f, \"idle_us\": %.1f}\n",
        name.c_str(), Quantile(alone, 0.5), Quantile(alone, 0.0), Quantile(alone, 0.9),
        Quantile(ahead, 0.5), Quantile(idle, 0.5));
    std::fflush(stdout);
  }

  bool IsWanted(const std::string& name) const { return name.find(wanted_) != std::string::npos; }

  static double Since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
  }
  static double Quantile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(share * static_cast<double>(values.size()))];
  }
  static void Report(const char* name, double value) {
    std::printf("{\"%s\": %.3f}\n", name, value);
    std::fflush(stdout);
  }

  std::unique_ptr<device::Device> device_;
  const ModelConfig config_;
  const int steps_;
  const std::string wanted_;
  std::unique_ptr<model::Transformer> model_;
  device::Buffer arena_;
  std::vector<Adapter> adapters_;
};

void Run(std::unique_ptr<device::Device> device, int32_t layers, int steps, std::string wanted) {
  std::printf("{\"device\": \"%s\", \"layers\": %d}\n", device->name().c_str(), layers);
  Bench bench(std::move(device), layers, steps, std::move(wanted));
  bench.Measure("decode, batch 1, context 1k", 1, 1, 1024, 0);
  bench.Measure("decode, batch 1, context 1k, 1 adapter", 1, 1, 1024, 1);
  bench.Measure("decode, batch 16, context 1k", 16, 1, 1024, 0);
  bench.Measure("decode, batch 16, context 1k, 1 adapter", 16, 1, 1024, 1);
  bench.Measure("decode, batch 16, context 1k, 8 adapters", 16, 1, 1024, 8);
  bench.Measure("decode, batch 8, context 1k, 8 adapters", 8, 1, 1024, 8);
  bench.Measure("decode, batch 24, context 1k", 24, 1, 1024, 0);
  bench.Measure("decode, batch 24, context 1k, 8 adapters", 24, 1, 1024, 8);
  bench.Measure("decode, batch 32, context 1k, 8 adapters", 32, 1, 1024, 8);
  bench.MeasureUneven("decode, batch 20, contexts 128 to 2560", 20, 128, 2560, 0);
  bench.MeasureUneven("decode, batch 20, contexts 128 to 2560, 12 adapters", 20, 128, 2560, 12);
  bench.MeasureBesideCopies("decode, batch 16, context 1k", 16, 1024, 0);
  bench.MeasureBesideCopies("decode, batch 16, context 1k, 8 adapters", 16, 1024, 8);
  bench.Measure("decode, batch 64, context 512", 64, 1, 512, 0);
  bench.Measure("decode, batch 64, context 512, 8 adapters", 64, 1, 512, 8);
  bench.Measure("prefill, 512 tokens", 1, 512, 0, 0);
  bench.Measure("prefill, 512 tokens, 1 adapter", 1, 512, 0, 1);
  bench.Measure("prefill, 2048 tokens", 1, 2048, 0, 0);
  bench.Measure("prefill, 2048 tokens, 1 adapter", 1, 2048, 0, 1);
  for (const int32_t tokens : {256, 512, 1024}) {
    const std::string name = "mixed, " + std::to_string(tokens) + " tokens beside 16 decodes";
    bench.MeasureMixed(name, tokens, 16, 1024, 0);
    bench.MeasureMixed(name + ", 8 adapters", tokens, 16, 1024, 8);
  }
  bench.Measure("prefill, 4 x 512 tokens, 4 adapters", 4, 512, 0, 4);
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  const bool cpu = argc > 1 && std::string(argv[1]) == "cpu";
  const int32_t layers = argc > 2 ? std::atoi(argv[2]) : 32;
  weft::Run(cpu ? weft::device::CreateCpuDevice() : weft::Must(weft::device::CreateCudaDevice()),
            layers, argc > 3 ? std::atoi(argv[3]) : weft::kDefaultSteps, argc > 4 ? argv[4] : "");
  return 0;
}
