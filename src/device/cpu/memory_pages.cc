#include "device/cpu/memory_pages.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace weft::device {
namespace {

/// Eight processors clear pages as fast as memory takes it.
constexpr unsigned kMostThreads = 8;
/// A thread takes as long to start as a piece or two take to clear.
constexpr Bytes kPiecesWorthAThread = 4;
/// Processor time of a piece above which a machine is slow: three times what clearing takes, a
/// quarter of what a host takes to find the memory. Some pieces may be slow.
constexpr std::chrono::microseconds kSlowPiece(1000);
constexpr std::chrono::milliseconds kSlowCredit(10);

Bytes RoundUp(Bytes bytes, Bytes to) { return (bytes + to - 1) / to * to; }

std::chrono::nanoseconds ProcessorTime() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

void UnmapPages(std::byte* data, Bytes size) { munmap(data, static_cast<size_t>(size)); }

std::byte* MapPages(Bytes size, Bytes alignment) {
  const Bytes reserved = size + alignment;
  void* area = mmap(nullptr, static_cast<size_t>(reserved), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(area);
  const Bytes address = static_cast<Bytes>(reinterpret_cast<uintptr_t>(area));
  const Bytes before = RoundUp(address, alignment) - address;
  if (before > 0) UnmapPages(start, before);
  if (alignment > before) UnmapPages(start + before + size, alignment - before);
  if (size >= kHugePage) madvise(start + before, static_cast<size_t>(size), MADV_HUGEPAGE);
  return start + before;
}

int MakePresent(std::byte* data, Bytes size) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(data, static_cast<size_t>(size), MADV_POPULATE_WRITE) == 0) return 0;
  if (errno != EINVAL) return errno;  // EINVAL: Linux before 5.14.
#endif
  // Nobody else touches the memory yet on a system that lacks the call.
  for (Bytes at = 0; at < size; at += kSmallPage)
    *const_cast<volatile std::byte*>(data + at) = std::byte{0};
  return 0;
}

PresentPart MakePresentInThreads(std::byte* data, Bytes size, Patience patience) {
  const Bytes pieces = (size + kHugePage - 1) / kHugePage;
  std::atomic<Bytes> next{0};
  std::atomic<bool> ended{false};
  std::atomic<int> error{0};
  const auto work = [&] {
    const std::chrono::nanoseconds began = ProcessorTime();
    std::chrono::nanoseconds limit = kSlowCredit;
    while (!ended) {
      const Bytes piece = next++;
      if (piece >= pieces) return;
      const Bytes at = piece * kHugePage;
      if (const int reason = MakePresent(data + at, std::min(kHugePage, size - at))) {
        error = reason;
        ended = true;
      }
      limit += kSlowPiece;
      if (patience == Patience::kUntilSlow && ProcessorTime() - began > limit) ended = true;
    }
  };
  const auto threads =
      std::clamp<Bytes>(pieces / kPiecesWorthAThread, 1,
                        std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads));
  std::vector<std::thread> others;
  for (Bytes i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  // Every piece that was taken is done.
  return {error != 0 ? 0 : std::min(next * kHugePage, size), error};
}

}  // namespace weft::device
