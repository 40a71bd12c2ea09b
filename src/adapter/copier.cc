#include "adapter/copier.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/thread_role.h"

namespace weft::adapter {

Copier::Copier(device::Device& device, const CopierOptions& options, const Clock& clock,
               std::function<void(AdapterCopied)> copied, LoadSpanSink spans)
    : options_(options),
      clock_(clock),
      copied_(std::move(copied)),
      spans_(std::move(spans)),
      stream_(device.CreateStream(device::StreamPriority::kCopy, "weft-copy-link")),
      throttle_(options.bytes_per_second),
      queue_(options.page_bytes,
             Throttle::PieceUnder(options.bytes_per_second, options.piece_bytes)) {
  WEFT_CHECK(options_.in_flight > 0);
  for (int i = 0; i < options_.in_flight; ++i) free_events_.push_back(device.CreateEvent());
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "weft-copier");
}

Copier::~Copier() { Stop(); }

void Copier::Copy(CopyJob job) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      queue_.Add(std::move(job));
      changed_.notify_one();
      return;
    }
  }
  CopyInProgress never_begun;
  never_begun.job = std::move(job);
  Answer(never_begun, true);
}

void Copier::Promote(AdapterVersion version) {
  std::lock_guard lock(mutex_);
  queue_.Promote(version);
}

void Copier::Stop() {
  AssertMayBlock("Copier::Stop");
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  thread_.join();
  for (const auto& copy : queue_.TakeAll()) Answer(*copy, true);
}

void Copier::Run() {
  Lock lock(mutex_);
  while (!stopping_) Step(lock);
  while (!in_flight_.empty()) RetireOldest(lock);
}

/// Does one thing: answers cancelled jobs, waits for a piece in flight, waits for work or
/// bandwidth, or issues a piece.
void Copier::Step(Lock& lock) {
  AnswerCancelled(lock);
  const bool full = in_flight_.size() == static_cast<size_t>(options_.in_flight);
  const Duration delay = throttle_.Delay(clock_.Now());
  if (!full && !queue_.empty() && delay == Duration::zero() && !stopping_) {
    Issue();
  } else if (!in_flight_.empty()) {
    RetireOldest(lock);
  } else if (queue_.empty()) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
  } else {
    // Short waits, because a job may be cancelled meanwhile without a notice.
    changed_.wait_for(lock, std::min<Duration>(delay, std::chrono::milliseconds(10)),
                      [&] { return stopping_; });
  }
}

void Copier::AnswerCancelled(Lock& lock) {
  const auto cancelled = queue_.TakeCancelled();
  if (cancelled.empty()) return;
  lock.unlock();
  for (const auto& copy : cancelled) {
    // One with pieces in flight is answered when the last of them has landed.
    if (copy->pieces_in_flight == 0) Answer(*copy, true);
  }
  lock.lock();
}

void Copier::Issue() {
  CopyQueue::Piece piece = queue_.TakePiece();
  const Moment now = clock_.Now();
  throttle_.Reserve(piece.bytes, now);
  ++piece.of->pieces_in_flight;
  std::unique_ptr<device::Event> done = std::move(free_events_.back());
  free_events_.pop_back();
  stream_->Copy(piece.to, piece.from, piece.bytes);
  stream_->Record(*done);
  in_flight_.push_back(InFlight{std::move(piece), std::move(done), now});
}

void Copier::RetireOldest(Lock& lock) {
  lock.unlock();
  InFlight oldest = std::move(in_flight_.front());
  in_flight_.pop_front();
  oldest.done->Synchronize();
  free_events_.push_back(std::move(oldest.done));

  // A stream works in order, so a piece began when the one before it ended, if not later.
  const Moment begin = std::max(oldest.issued, last_end_);
  last_end_ = clock_.Now();
  CopyInProgress& copy = *oldest.piece.of;
  if (!copy.began) copy.began = begin;
  copy.ended = last_end_;
  copy.copied += oldest.piece.bytes;
  busy_ns_.fetch_add((last_end_ - begin).count(), std::memory_order_relaxed);
  copied_bytes_.fetch_add(oldest.piece.bytes, std::memory_order_relaxed);
  if (spans_) {
    spans_(LoadSpan{.kind = LoadSpan::Kind::kCopy,
                    .version = copy.job.version,
                    .begin = begin,
                    .end = last_end_,
                    .bytes = oldest.piece.bytes});
  }

  lock.lock();
  if (--copy.pieces_in_flight > 0 || copy.queued) return;
  lock.unlock();
  Answer(copy, copy.next_page < copy.job.host.size());
  lock.lock();
}

void Copier::Answer(const CopyInProgress& copy, bool cancelled) {
  copied_(AdapterCopied{
      .version = copy.job.version,
      .status = cancelled
                    ? Status(MakeError(ErrorCode::kCancelled,
                                       "the copy was cancelled after {} of {} pages",
                                       copy.copied / options_.page_bytes, copy.job.host.size()))
                    : OkStatus(),
      .bytes = copy.copied,
      .took = copy.began ? copy.ended - *copy.began : Duration::zero()});
}

}  // namespace weft::adapter
