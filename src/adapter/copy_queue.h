#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "adapter/loading.h"
#include "base/bytes.h"
#include "base/clock.h"

namespace weft::adapter {

/// A copy job and how far it has come.
struct CopyInProgress {
  CopyJob job;
  int64_t arrival = 0;
  size_t next_page = 0;      ///< Pages before it are copied or in flight.
  bool queued = true;        ///< The queue still holds it.
  int pieces_in_flight = 0;  ///< Taken from the queue and not yet landed; the copier counts them.
  std::optional<Moment> began;
  Moment ended{};
  Bytes copied = 0;

  bool Cancelled() const { return job.cancelled != nullptr && *job.cancelled; }
};

/// Which pages are copied next: those of the most urgent job, of equals the one that came first;
/// neighbours in one piece. A later job that is more urgent overtakes between two pieces. Not
/// synchronized; nothing blocks. A piece costs O(log jobs + pages in it).
class CopyQueue {
 public:
  struct Piece {
    std::shared_ptr<CopyInProgress> of;
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    Bytes bytes = 0;
  };

  /// `piece_bytes`: how much neighbouring pages are merged to; at least a page goes in any case.
  CopyQueue(Bytes page_bytes, Bytes piece_bytes);

  bool empty() const { return jobs_.empty(); }
  size_t size() const { return jobs_.size(); }
  /// The job has as many host as device pages, and at least one.
  void Add(CopyJob job);
  void Promote(AdapterVersion version);
  /// The next piece; its job leaves the queue with its last one. The queue is not empty.
  Piece TakePiece();
  /// The jobs that nobody waits for any more; they leave the queue.
  std::vector<std::shared_ptr<CopyInProgress>> TakeCancelled();
  std::vector<std::shared_ptr<CopyInProgress>> TakeAll();

 private:
  using Order = std::pair<bool, int64_t>;  ///< Prefetches last, then by arrival.
  static Order OrderOf(const CopyInProgress& copy) {
    return {copy.job.urgency == CopyUrgency::kPrefetch, copy.arrival};
  }

  const Bytes page_bytes_;
  const Bytes piece_bytes_;
  std::map<Order, std::shared_ptr<CopyInProgress>> jobs_;
  int64_t arrivals_ = 0;
};

}  // namespace weft::adapter
