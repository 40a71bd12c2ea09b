#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "adapter/image_read.h"
#include "adapter/load_span.h"
#include "adapter/loading.h"
#include "adapter/throttle.h"
#include "base/clock.h"
#include "base/file.h"
#include "checkpoint/model_config.h"
#include "checkpoint/peft_adapter.h"

namespace weft::adapter {

struct LoaderOptions {
  int threads = 2;
  int threads_per_adapter = 2;  ///< Most threads that read one adapter at once.
  Bytes bytes_per_second = 0;   ///< `--lora-read-bandwidth`, of all threads together; 0: no cap.
};

/// The threads that open, read, convert and pack adapters. An open goes first, because it takes
/// milliseconds; reads are served in the order of their arrival, the layers of each in ascending
/// order, by as many threads as may share it. Any thread may call the public methods but the
/// loader's own (from a reply); Open and Read return at once. Every job is answered exactly once,
/// from a loader thread, or from the thread that calls Stop or calls Open or Read after it
/// (kCancelled). The queues hold at most one open and one read for each adapter version, since the
/// engine has no more of them outstanding.
class Loader {
 public:
  Loader(FileSystem& files, const ModelConfig& model, const checkpoint::AdapterLimits& limits,
         const ImageFormat& format, const LoaderOptions& options, const Clock& clock,
         std::function<void(AdapterOpened)> opened, std::function<void(AdapterRead)> read,
         LoadSpanSink spans = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  void Open(OpenJob job);
  void Read(ReadJob job);
  /// Ends reads at their next piece, joins the threads, and answers what is unfinished with
  /// kCancelled. Blocks. May be called again.
  void Stop();

 private:
  class PieceMonitor;
  /// A read job and how far it has come. Guarded by mutex_, but for what is immutable or atomic.
  struct ActiveRead {
    ReadJob job;
    std::unique_ptr<ImageRead> image;  ///< Set by the first thread, before any other joins.
    bool joinable = false;             ///< Other threads may join.
    size_t next_layer = 0;
    int threads = 0;
    Status status;
    Moment began{};
    std::atomic<bool> failed = false;  ///< One thread met an error, so the others need not go on.
  };
  using Lock = std::unique_lock<std::mutex>;
  using ReadList = std::list<std::shared_ptr<ActiveRead>>;

  void Run(int thread);
  void OpenNext(Lock& lock);
  Result<std::shared_ptr<const OpenedAdapter>> OpenFolder(const OpenJob& job);
  /// A read that a thread may work on now, or null. Queued ones that were cancelled are moved to
  /// `cancelled`.
  std::shared_ptr<ActiveRead> ChooseRead(ReadList& cancelled);
  bool MayJoin(const ActiveRead& read) const;
  void BeginRead(ActiveRead& read, Lock& lock);
  void ReadNextLayer(ActiveRead& read, ReadStaging& staging, int thread, Lock& lock);
  /// Answers the read if this was its last thread.
  void LeaveRead(const std::shared_ptr<ActiveRead>& read, Lock& lock);
  Status Wait(Duration duration, const ActiveRead& read);
  bool GivenUp(const ActiveRead& read) const;
  void AnswerCancelled(const ReadList& reads);

  FileSystem& files_;
  const ModelConfig model_;
  const checkpoint::AdapterLimits limits_;
  const ImageFormat format_;
  const LoaderOptions options_;
  const Clock& clock_;
  const std::function<void(AdapterOpened)> opened_;
  const std::function<void(AdapterRead)> read_;
  const LoadSpanSink spans_;
  Throttle throttle_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<OpenJob> opens_;
  ReadList reads_;  ///< In order of arrival; those that threads work on are in it too.
  std::atomic<bool> stopping_ = false;  ///< Set under mutex_.

  std::mutex pause_mutex_;
  std::condition_variable stopped_;  ///< Wakes those that wait for bandwidth.
  std::vector<std::thread> threads_;
};

}  // namespace weft::adapter
