#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "adapter/copy_queue.h"
#include "adapter/load_span.h"
#include "adapter/loading.h"
#include "adapter/throttle.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "device/device.h"

namespace weft::adapter {

struct CopierOptions {
  Bytes page_bytes = 0;
  Bytes piece_bytes = 8 * kMiB;  ///< Neighbouring pages are merged to at most this much.
  int in_flight = 4;             ///< Most pieces given to the device at once.
  Bytes bytes_per_second = 0;    ///< `--lora-copy-bandwidth`; 0: no cap.
};

/// The copy thread: feeds one stream of the device with images, the urgent ones first. Any thread
/// may call the public methods but the copy thread itself (from `copied`); they return at once.
/// Every job is answered exactly once through `copied`, from the copy thread, or from the thread
/// that calls Stop or calls Copy after it (kCancelled); from then on nothing touches its pages.
class Copier {
 public:
  Copier(device::Device& device, const CopierOptions& options, const Clock& clock,
         std::function<void(AdapterCopied)> copied, LoadSpanSink spans = {});
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  void Copy(CopyJob job);
  void Promote(AdapterVersion version);
  /// Waits for what is in flight, joins the thread, and answers what is unfinished with kCancelled.
  /// Blocks. May be called again.
  void Stop();

  /// Any thread.
  LinkUse link_use() const {
    return {Duration(busy_ns_.load(std::memory_order_relaxed)),
            copied_bytes_.load(std::memory_order_relaxed)};
  }

 private:
  struct InFlight {
    CopyQueue::Piece piece;
    std::unique_ptr<device::Event> done;
    Moment issued;
  };
  using Lock = std::unique_lock<std::mutex>;

  void Run();
  void Step(Lock& lock);
  void AnswerCancelled(Lock& lock);
  void Issue();
  void RetireOldest(Lock& lock);
  void Answer(const CopyInProgress& copy, bool cancelled);

  const CopierOptions options_;
  const Clock& clock_;
  const std::function<void(AdapterCopied)> copied_;
  const LoadSpanSink spans_;
  const std::unique_ptr<device::Stream> stream_;
  Throttle throttle_;
  std::atomic<int64_t> busy_ns_{0};
  std::atomic<Bytes> copied_bytes_{0};

  std::mutex mutex_;  ///< Guards queue_ and stopping_.
  std::condition_variable changed_;
  CopyQueue queue_;
  bool stopping_ = false;

  // The copy thread's own.
  std::deque<InFlight> in_flight_;
  std::vector<std::unique_ptr<device::Event>> free_events_;
  Moment last_end_{};

  std::thread thread_;
};

}  // namespace weft::adapter
