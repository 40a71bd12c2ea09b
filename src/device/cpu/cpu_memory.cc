#include "device/cpu/cpu_memory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "device/cpu/memory_pages.h"
#include "device/cpu/reserved_memory.h"

namespace weft::device {
namespace {

/// Setting less than this aside gains nothing.
constexpr Bytes kLeastReserve = 64 * kMiB;

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

namespace {

Error CannotProvide(Bytes bytes, int error) {
  return MakeError(ErrorCode::kResourceExhausted, "the system could not provide {} of memory: {}",
                   FormatBytes(bytes), std::strerror(error));
}

/// Memory of which nothing is present.
Result<Buffer> Map(Bytes bytes, const OutstandingBytes& outstanding) {
  const Bytes free = FreeMemory() - outstanding.others();
  if (bytes > free)
    return MakeError(ErrorCode::kResourceExhausted,
                     "{} of memory wanted, but only {} is free; ask for a smaller pool or model",
                     FormatBytes(bytes), FormatBytes(std::max<Bytes>(free, 0)));
  const Bytes alignment = bytes >= kHugePage ? kHugePage : kSmallPage;
  const Bytes size = RoundUp(bytes, alignment);
  std::byte* data = MapPages(size, alignment);
  if (data == nullptr) return CannotProvide(bytes, errno);
  return Buffer(data, size, UnmapPages);
}

}  // namespace

Result<Buffer> AllocateMemory(Bytes bytes) {
  WEFT_CHECK(bytes >= 0);
  if (bytes == 0) return Buffer();
  const OutstandingBytes outstanding(bytes);
  WEFT_ASSIGN_OR_RETURN(Buffer buffer, Map(bytes, outstanding));
  const PresentPart part = MakePresentInThreads(buffer.data(), buffer.size(), Patience::kUnlimited);
  if (part.error != 0) return CannotProvide(bytes, part.error);
  return buffer;
}

Result<Buffer> ReserveMemory(Bytes bytes) {
  if (bytes < kLeastReserve) return AllocateMemory(bytes);
  const OutstandingBytes outstanding(bytes);
  WEFT_ASSIGN_OR_RETURN(Buffer mapped, Map(bytes, outstanding));
  const PresentPart part = MakePresentInThreads(mapped.data(), mapped.size(), Patience::kUntilSlow);
  if (part.error != 0) return CannotProvide(bytes, part.error);
  std::byte* rest = mapped.data() + part.bytes;
  const Bytes rest_bytes = mapped.size() - part.bytes;
  if (rest_bytes == 0) return mapped;
  std::unique_ptr<SetAsidePages> pages = SetAsidePages::Create(rest_bytes);
  if (pages == nullptr) {
    const PresentPart last = MakePresentInThreads(rest, rest_bytes, Patience::kUnlimited);
    if (last.error != 0) return CannotProvide(bytes, last.error);
    return mapped;
  }
  struct Parts {
    Buffer memory;
    BackgroundPresence presence;  // Ends before the memory is unmapped.
  };
  std::byte* data = mapped.data();
  const Bytes size = mapped.size();
  std::shared_ptr<Parts> parts(
      new Parts{std::move(mapped), BackgroundPresence(rest, rest_bytes, std::move(pages))});
  return Buffer(data, size, [parts](std::byte*, Bytes) mutable { parts.reset(); });
}

}  // namespace weft::device
