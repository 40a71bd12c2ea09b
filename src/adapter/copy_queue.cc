#include "adapter/copy_queue.h"

#include "base/check.h"

namespace weft::adapter {

CopyQueue::CopyQueue(Bytes page_bytes, Bytes piece_bytes)
    : page_bytes_(page_bytes), piece_bytes_(piece_bytes) {
  WEFT_CHECK(page_bytes > 0);
}

void CopyQueue::Add(CopyJob job) {
  WEFT_CHECK(!job.host.empty() && job.host.size() == job.device.size());
  auto copy = std::make_shared<CopyInProgress>();
  copy->job = std::move(job);
  copy->arrival = arrivals_++;
  jobs_.emplace(OrderOf(*copy), std::move(copy));
}

void CopyQueue::Promote(AdapterVersion version) {
  for (auto it = jobs_.begin(); it != jobs_.end(); ++it) {
    if (it->second->job.version != version) continue;
    auto node = jobs_.extract(it);
    node.mapped()->job.urgency = CopyUrgency::kRequested;
    node.key() = OrderOf(*node.mapped());
    jobs_.insert(std::move(node));
    return;
  }
}

CopyQueue::Piece CopyQueue::TakePiece() {
  WEFT_CHECK(!jobs_.empty());
  const auto first = jobs_.begin();
  Piece piece{.of = first->second};
  CopyInProgress& copy = *piece.of;
  const std::vector<const std::byte*>& host = copy.job.host;
  const std::vector<std::byte*>& device = copy.job.device;
  piece.from = host[copy.next_page];
  piece.to = device[copy.next_page];
  do {
    piece.bytes += page_bytes_;
    ++copy.next_page;
  } while (copy.next_page < host.size() && piece.bytes + page_bytes_ <= piece_bytes_ &&
           host[copy.next_page] == piece.from + piece.bytes &&
           device[copy.next_page] == piece.to + piece.bytes);
  if (copy.next_page == host.size()) {
    copy.queued = false;
    jobs_.erase(first);
  }
  return piece;
}

std::vector<std::shared_ptr<CopyInProgress>> CopyQueue::TakeCancelled() {
  std::vector<std::shared_ptr<CopyInProgress>> cancelled;
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    if (it->second->Cancelled()) {
      it->second->queued = false;
      cancelled.push_back(std::move(it->second));
      it = jobs_.erase(it);
    } else {
      ++it;
    }
  }
  return cancelled;
}

std::vector<std::shared_ptr<CopyInProgress>> CopyQueue::TakeAll() {
  std::vector<std::shared_ptr<CopyInProgress>> all;
  for (auto& [order, copy] : jobs_) {
    copy->queued = false;
    all.push_back(std::move(copy));
  }
  jobs_.clear();
  return all;
}

}  // namespace weft::adapter
