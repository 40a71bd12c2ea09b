#include "device/cpu/reserved_memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "device/cpu/memory_pages.h"

namespace weft::device {
namespace {

/// Of the thread in the background: a tenth of a processor that others want as well. It holds the
/// lock of the process's memory map while it clears a piece, so it must go on.
constexpr int kNice = 10;
constexpr std::chrono::milliseconds kRetry(100);

}  // namespace

std::unique_ptr<SetAsidePages> SetAsidePages::Create(Bytes size) {
  // A file larger than the limit is a signal that ends the process.
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY) return nullptr;
  const int file = memfd_create("weft-set-aside", MFD_CLOEXEC);
  if (file < 0) return nullptr;
  std::unique_ptr<SetAsidePages> pages(new SetAsidePages(file));
  return fallocate(file, 0, 0, size) == 0 ? std::move(pages) : nullptr;
}

SetAsidePages::~SetAsidePages() { close(file_); }

void SetAsidePages::GiveBack(Bytes at, Bytes size) {
  fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size);
}

BackgroundPresence::BackgroundPresence(std::byte* data, Bytes size,
                                       std::unique_ptr<SetAsidePages> pages)
    : data_(data), size_(size), pages_(std::move(pages)), thread_([this] { Run(); }) {}

BackgroundPresence::~BackgroundPresence() {
  stopping_ = true;
  thread_.join();
}

void BackgroundPresence::Run() {
  pthread_setname_np(pthread_self(), "weft-memory");
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  bool said = false;
  for (Bytes at = 0; at < size_ && !stopping_;) {
    const Bytes piece = std::min(kHugePage, size_ - at);
    pages_->GiveBack(at, piece);
    const int error = MakePresent(data_ + at, piece);
    if (error == 0) {
      at += piece;
      continue;
    }
    // Somebody took what was given back just now: the rest is still set aside.
    if (!std::exchange(said, true))
      spdlog::error("the system takes back memory that was set aside: {}", std::strerror(error));
    std::this_thread::sleep_for(kRetry);
  }
  pages_.reset();
  complete_ = !stopping_;
}

}  // namespace weft::device
