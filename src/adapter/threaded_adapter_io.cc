#include "adapter/threaded_adapter_io.h"

namespace weft::adapter {

ThreadedAdapterIo::ThreadedAdapterIo(FileSystem& files, const ModelConfig& model,
                                     const ops::TilePacker& packer, device::Device& device,
                                     const ThreadedAdapterIoOptions& options, const Clock& clock,
                                     const AdapterIoReplies& replies, LoadSpanSink spans)
    : loader_(files, model, options.limits,
              ImageFormat{.packer = packer, .page_bytes = options.page_bytes}, options.loader,
              clock, replies.opened, replies.read, spans),
      copier_(device,
              CopierOptions{.page_bytes = options.page_bytes,
                            .bytes_per_second = options.copy_bytes_per_second},
              clock, replies.copied, spans) {}

void ThreadedAdapterIo::Stop() {
  loader_.Stop();
  copier_.Stop();
}

}  // namespace weft::adapter
