#pragma once

#include "adapter/copier.h"
#include "adapter/load_span.h"
#include "adapter/loader.h"
#include "adapter/loading.h"
#include "base/clock.h"
#include "base/file.h"
#include "checkpoint/model_config.h"
#include "checkpoint/peft_adapter.h"
#include "device/device.h"
#include "ops/lora.h"

namespace weft::adapter {

struct ThreadedAdapterIoOptions {
  Bytes page_bytes = 0;
  checkpoint::AdapterLimits limits;
  LoaderOptions loader;
  Bytes copy_bytes_per_second = 0;  ///< `--lora-copy-bandwidth`; 0: no cap.
};

/// Loading on threads of its own: the loader's and the copy thread. Owned by the command; outlives
/// the engine's last call, and everything given to the constructor outlives it. The replies come
/// from those threads, or at once from the caller's after Stop.
class ThreadedAdapterIo final : public AdapterIo {
 public:
  ThreadedAdapterIo(FileSystem& files, const ModelConfig& model, const ops::TilePacker& packer,
                    device::Device& device, const ThreadedAdapterIoOptions& options,
                    const Clock& clock, const AdapterIoReplies& replies, LoadSpanSink spans = {});

  void Open(OpenJob job) override { loader_.Open(std::move(job)); }
  void Read(ReadJob job) override { loader_.Read(std::move(job)); }
  void Copy(CopyJob job) override { copier_.Copy(std::move(job)); }
  void Promote(AdapterVersion version) override { copier_.Promote(version); }
  LinkUse link_use() const override { return copier_.link_use(); }

  /// Joins all threads and answers every job that is left with kCancelled. Blocks.
  void Stop();

 private:
  Loader loader_;
  Copier copier_;
};

}  // namespace weft::adapter
