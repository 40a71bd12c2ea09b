// Reading an adapter's file from the page cache into an image: WEFT_BENCH_MODEL and
// WEFT_BENCH_ADAPTER name the folders (`weft make model`, `weft make adapter`).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "adapter/image_read.h"
#include "checkpoint/model_files.h"
#include "device/device.h"
#include "ops/cpu/cpu_tile_packer.h"

namespace weft {
namespace {

class PassAll final : public adapter::ReadMonitor {
  Status BeforePiece(Bytes) override { return OkStatus(); }
  void Done(adapter::LoadSpan::Kind, Moment, Moment, Bytes) override {}
};

/// One thread reads every layer; bytes are those of the file.
void BM_ImageRead(benchmark::State& state) {
  const char* model_path = std::getenv("WEFT_BENCH_MODEL");
  const char* adapter_path = std::getenv("WEFT_BENCH_ADAPTER");
  if (model_path == nullptr || adapter_path == nullptr) {
    state.SkipWithError("set WEFT_BENCH_MODEL and WEFT_BENCH_ADAPTER");
    return;
  }
  const auto model = std::move(checkpoint::OpenModelConfigOnly(LocalFiles(), model_path)).value();
  const ops::cpu::CpuTilePacker packer(DType::kBFloat16);
  const adapter::ImageFormat format{.packer = packer, .page_bytes = 360 * kKiB};
  const auto opened =
      std::move(adapter::OpenForImage(LocalFiles(), adapter_path, model.config, {}, format))
          .value();
  const auto device = device::CreateCpuDevice();
  const Bytes image = opened->layout.pages * format.page_bytes;
  const device::Buffer memory = std::move(device->AllocateHost(image)).value();
  std::vector<std::byte*> pages;
  for (int32_t i = 0; i < opened->layout.pages; ++i)
    pages.push_back(memory.data() + i * format.page_bytes);
  const SteadyClock clock;
  PassAll monitor;
  adapter::ReadStaging staging;
  Bytes bytes = 0;
  for (auto _ : state) {
    auto read =
        std::move(adapter::ImageRead::Begin(LocalFiles(), format, clock, opened, pages)).value();
    for (const LayerIndex layer : read->layers())
      if (!read->ReadLayer(layer, staging, monitor).ok()) state.SkipWithError("a read failed");
    if (!read->Finish().ok()) state.SkipWithError("the end failed");
    bytes += static_cast<const checkpoint::AdapterFiles*>(opened->files.get())->weights_stamp.size;
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(BM_ImageRead)->MeasureProcessCPUTime()->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace weft
