#include "adapter/loader.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <utility>

#include "adapter/allowed_path.h"
#include "base/check.h"
#include "base/thread_role.h"

namespace weft::adapter {
namespace {

/// How soon a thread that waits for bandwidth notices that its job was cancelled.
constexpr Duration kLongestPause = std::chrono::milliseconds(10);

Error Cancelled() { return MakeError(ErrorCode::kCancelled, "the load was cancelled"); }

}  // namespace

class Loader::PieceMonitor final : public ReadMonitor {
 public:
  PieceMonitor(Loader& loader, const ActiveRead& read, int thread)
      : loader_(loader), read_(read), thread_(thread) {}

  Status BeforePiece(Bytes bytes) override {
    if (loader_.GivenUp(read_)) return Cancelled();
    return loader_.Wait(loader_.throttle_.Reserve(bytes, loader_.clock_.Now()), read_);
  }

  void Done(LoadSpan::Kind kind, Moment begin, Moment end, Bytes bytes) override {
    if (!loader_.spans_) return;
    loader_.spans_(LoadSpan{kind, read_.job.version, begin, end, bytes, thread_});
  }

 private:
  Loader& loader_;
  const ActiveRead& read_;
  const int thread_;
};

Loader::Loader(FileSystem& files, const ModelConfig& model, const checkpoint::AdapterLimits& limits,
               const ImageFormat& format, const LoaderOptions& options, const Clock& clock,
               std::function<void(AdapterOpened)> opened, std::function<void(AdapterRead)> read,
               LoadSpanSink spans)
    : files_(files),
      model_(model),
      limits_(limits),
      format_{format.packer, format.page_bytes,
              Throttle::PieceUnder(options.bytes_per_second, format.piece_bytes)},
      options_(options),
      clock_(clock),
      opened_(std::move(opened)),
      read_(std::move(read)),
      spans_(std::move(spans)),
      throttle_(options.bytes_per_second) {
  WEFT_CHECK(options_.threads > 0 && options_.threads_per_adapter > 0);
  for (int thread = 0; thread < options_.threads; ++thread) {
    threads_.emplace_back([this, thread] { Run(thread); });
    pthread_setname_np(threads_.back().native_handle(),
                       ("weft-loader-" + std::to_string(thread)).c_str());
  }
}

Loader::~Loader() { Stop(); }

void Loader::Open(OpenJob job) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      opens_.push_back(std::move(job));
      changed_.notify_one();
      return;
    }
  }
  opened_(AdapterOpened{job.version, Cancelled()});
}

void Loader::Read(ReadJob job) {
  auto read = std::make_shared<ActiveRead>();
  read->job = std::move(job);
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      reads_.push_back(std::move(read));
      changed_.notify_one();
      return;
    }
  }
  AnswerCancelled({std::move(read)});
}

void Loader::Stop() {
  AssertMayBlock("Loader::Stop");
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  {
    std::lock_guard lock(pause_mutex_);
    stopped_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  for (OpenJob& job : std::exchange(opens_, {})) {
    opened_(AdapterOpened{job.version, Cancelled()});
  }
  AnswerCancelled(std::exchange(reads_, {}));
}

void Loader::Run(int thread) {
  ReadStaging staging;
  Lock lock(mutex_);
  while (!stopping_) {
    if (!opens_.empty()) {
      OpenNext(lock);
      continue;
    }
    ReadList cancelled;
    const std::shared_ptr<ActiveRead> read = ChooseRead(cancelled);
    if (!cancelled.empty()) {
      lock.unlock();
      AnswerCancelled(cancelled);
      lock.lock();
    }
    if (read != nullptr) {
      if (!read->joinable) BeginRead(*read, lock);
      if (!read->failed) ReadNextLayer(*read, staging, thread, lock);
      LeaveRead(read, lock);
    } else if (cancelled.empty()) {
      changed_.wait(lock);
    }
  }
}

void Loader::OpenNext(Lock& lock) {
  const OpenJob job = std::move(opens_.front());
  opens_.pop_front();
  lock.unlock();
  const Moment begin = clock_.Now();
  auto opened = OpenFolder(job);
  opened_(AdapterOpened{job.version, std::move(opened), clock_.Now() - begin});
  lock.lock();
}

Result<std::shared_ptr<const OpenedAdapter>> Loader::OpenFolder(const OpenJob& job) {
  WEFT_ASSIGN_OR_RETURN(const std::string folder, ResolveAdapterFolder(files_, job.path, job.root));
  return OpenForImage(files_, folder, model_, limits_, format_);
}

std::shared_ptr<Loader::ActiveRead> Loader::ChooseRead(ReadList& cancelled) {
  for (auto it = reads_.begin(); it != reads_.end();) {
    const auto next = std::next(it);
    if ((*it)->threads == 0 && GivenUp(**it)) {
      cancelled.splice(cancelled.end(), reads_, it);
    } else if (MayJoin(**it)) {
      ++(*it)->threads;
      return *it;
    }
    it = next;
  }
  return nullptr;
}

bool Loader::MayJoin(const ActiveRead& read) const {
  if (!read.joinable) return read.threads == 0;
  return read.threads < options_.threads_per_adapter && !read.failed &&
         read.next_layer < read.image->layers().size();
}

void Loader::BeginRead(ActiveRead& read, Lock& lock) {
  lock.unlock();
  const Moment began = clock_.Now();
  auto image = ImageRead::Begin(files_, format_, clock_, read.job.opened, read.job.pages);
  lock.lock();
  read.began = began;
  if (image.ok()) {
    read.image = *std::move(image);
  } else {
    read.failed = true;
    read.status = image.error();
  }
  read.joinable = true;
  changed_.notify_all();
}

void Loader::ReadNextLayer(ActiveRead& read, ReadStaging& staging, int thread, Lock& lock) {
  // Between its choice and this line another thread may have taken the last layer.
  if (read.next_layer == read.image->layers().size()) return;
  const LayerIndex layer = read.image->layers()[read.next_layer++];
  lock.unlock();
  PieceMonitor monitor(*this, read, thread);
  Status status = read.image->ReadLayer(layer, staging, monitor);
  lock.lock();
  if (status.ok() || read.failed) return;
  read.failed = true;
  read.status = std::move(status);
}

void Loader::LeaveRead(const std::shared_ptr<ActiveRead>& read, Lock& lock) {
  --read->threads;
  const bool ended = read->failed || read->next_layer == read->image->layers().size();
  if (read->threads > 0 || !ended) return;
  reads_.remove(read);
  lock.unlock();
  Status status = read->failed ? read->status : read->image->Finish();
  read->image.reset();
  read_(AdapterRead{read->job.version, std::move(status), clock_.Now() - read->began});
  lock.lock();
}

Status Loader::Wait(Duration duration, const ActiveRead& read) {
  const Moment end = clock_.Now() + duration;
  for (Moment now = clock_.Now(); now < end; now = clock_.Now()) {
    std::unique_lock lock(pause_mutex_);
    stopped_.wait_for(lock, std::min<Duration>(end - now, kLongestPause),
                      [&] { return stopping_.load(); });
    if (GivenUp(read)) return Cancelled();
  }
  return OkStatus();
}

bool Loader::GivenUp(const ActiveRead& read) const {
  return stopping_ || read.failed || (read.job.cancelled != nullptr && *read.job.cancelled);
}

void Loader::AnswerCancelled(const ReadList& reads) {
  for (const auto& read : reads) read_(AdapterRead{read->job.version, Cancelled()});
}

}  // namespace weft::adapter
