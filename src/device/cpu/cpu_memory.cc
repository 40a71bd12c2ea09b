#include "device/cpu/cpu_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace weft::device {
namespace {

constexpr Bytes kHugePage = 2 * kMiB;
constexpr Bytes kSmallPage = 4 * kKiB;
/// Eight processors clear pages as fast as memory takes it.
constexpr unsigned kMostThreads = 8;
/// A thread takes as long to start as a piece or two take to clear.
constexpr Bytes kPiecesWorthAThread = 8;

Bytes RoundUp(Bytes bytes, Bytes to) { return (bytes + to - 1) / to * to; }

/// "MemTotal:   24000 kB" of /proc/meminfo.
Bytes MemInfo(const std::string& field) {
  std::ifstream file("/proc/meminfo");
  std::string name;
  Bytes kilobytes = 0;
  std::string rest;
  while (file >> name >> kilobytes && std::getline(file, rest))
    if (name == field) return kilobytes * kKiB;
  return 0;
}

/// A number in a file of the control group; empty when there is none ("max", or no such file).
std::optional<Bytes> ControlGroup(const char* file_name) {
  std::ifstream file(std::string("/sys/fs/cgroup/") + file_name);
  Bytes value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

void Unmap(std::byte* data, Bytes size) { munmap(data, static_cast<size_t>(size)); }

/// Maps `size` bytes at a multiple of `alignment`; null when the system refuses.
std::byte* MapAligned(Bytes size, Bytes alignment) {
  const Bytes reserved = size + alignment;
  void* area = mmap(nullptr, static_cast<size_t>(reserved), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(area);
  const Bytes address = static_cast<Bytes>(reinterpret_cast<uintptr_t>(area));
  const Bytes before = RoundUp(address, alignment) - address;
  if (before > 0) Unmap(start, before);
  if (alignment > before) Unmap(start + before + size, alignment - before);
  return start + before;
}

/// Makes every page present, so that no later touch can fail or wait.
bool PopulatePiece(std::byte* data, Bytes size) {
#ifdef MADV_POPULATE_WRITE
  if (madvise(data, static_cast<size_t>(size), MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;  // EINVAL: Linux before 5.14.
#endif
  for (Bytes at = 0; at < size; at += kSmallPage)
    *const_cast<volatile std::byte*>(data + at) = std::byte{0};
  return true;
}

/// The same with several threads, each a huge page at a time: the system clears pages on the
/// processor that asks, and other threads' calls for memory wait for one piece at most. 0, or the
/// system's reason.
int Populate(std::byte* data, Bytes size) {
  const Bytes pieces = (size + kHugePage - 1) / kHugePage;
  std::atomic<Bytes> next{0};
  std::atomic<int> error{0};
  const auto work = [&] {
    for (Bytes i = next++; i < pieces && error == 0; i = next++) {
      const Bytes at = i * kHugePage;
      if (!PopulatePiece(data + at, std::min(kHugePage, size - at))) error = errno;
    }
  };
  const int threads = static_cast<int>(
      std::clamp<Bytes>(pieces / kPiecesWorthAThread, 1,
                        std::min(kMostThreads, std::thread::hardware_concurrency())));
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  return error;
}

/// While it lives, `bytes` are wanted and may not be present yet: allocations side by side see
/// what the others will still take of the free memory.
class OutstandingBytes {
 public:
  explicit OutstandingBytes(Bytes bytes) : bytes_(bytes), others_(all_.fetch_add(bytes)) {}
  ~OutstandingBytes() { all_ -= bytes_; }
  OutstandingBytes(const OutstandingBytes&) = delete;
  OutstandingBytes& operator=(const OutstandingBytes&) = delete;
  /// Counts twice what they have made present already, which errs on the safe side.
  Bytes others() const { return others_; }

 private:
  static inline std::atomic<Bytes> all_{0};
  const Bytes bytes_;
  const Bytes others_;
};

}  // namespace

Bytes TotalMemory() {
  const Bytes machine = MemInfo("MemTotal:");
  return std::min(machine, ControlGroup("memory.max").value_or(machine));
}

Bytes FreeMemory() {
  const Bytes machine = MemInfo("MemAvailable:");
  const std::optional<Bytes> limit = ControlGroup("memory.max");
  const std::optional<Bytes> used = ControlGroup("memory.current");
  if (!limit || !used) return machine;
  return std::clamp<Bytes>(*limit - *used, 0, machine);
}

Result<Buffer> AllocateMemory(Bytes bytes) {
  WEFT_CHECK(bytes >= 0);
  if (bytes == 0) return Buffer();
  const Bytes alignment = bytes >= kHugePage ? kHugePage : kSmallPage;
  const Bytes size = RoundUp(bytes, alignment);
  const OutstandingBytes outstanding(size);
  const Bytes free = FreeMemory() - outstanding.others();
  if (bytes > free)
    return MakeError(ErrorCode::kResourceExhausted,
                     "{} of memory wanted, but only {} is free; ask for a smaller pool or model",
                     FormatBytes(bytes), FormatBytes(std::max<Bytes>(free, 0)));
  std::byte* data = MapAligned(size, alignment);
  if (data == nullptr)
    return MakeError(ErrorCode::kResourceExhausted, "the system refused {} of memory: {}",
                     FormatBytes(bytes), std::strerror(errno));
  Buffer buffer(data, size, Unmap);
  if (alignment == kHugePage) madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);
  if (const int error = Populate(data, size))
    return MakeError(ErrorCode::kResourceExhausted, "the system could not provide {} of memory: {}",
                     FormatBytes(bytes), std::strerror(error));
  return buffer;
}

}  // namespace weft::device
