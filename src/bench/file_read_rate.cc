#include "bench/file_read_rate.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/bytes.h"

namespace weft::bench {
namespace {

constexpr Bytes kMadeBytes = 64 * kMiB;
/// Of a longer file only so much is read.
constexpr Bytes kMostBytes = 256 * kMiB;
constexpr size_t kPiece = 4 * kMiB;
/// A slow disk is not asked again and again.
constexpr Duration kColdTime = std::chrono::milliseconds(1500);

Error IoError(const char* what, const std::string& path) {
  return MakeError(ErrorCode::kIo, "{}: {}: {}", path, what, std::strerror(errno));
}

/// An open file; one that was made for the measurement has no name any more.
class OpenFile {
 public:
  OpenFile(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  OpenFile(OpenFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  static Result<OpenFile> Existing(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return IoError("cannot be opened", path);
    return OpenFile(descriptor, path);
  }

  static Result<OpenFile> Made() {
    const char* folder = std::getenv("TMPDIR");
    std::string path = std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp");
    path += "/weft-bench-XXXXXX";
    const int descriptor = mkostemp(path.data(), O_CLOEXEC);
    if (descriptor < 0) return IoError("cannot be made", path);
    OpenFile file(descriptor, path);
    unlink(path.c_str());
    // Not zeros: some disks do not store those.
    std::vector<uint32_t> words(kPiece / sizeof(uint32_t));
    uint32_t state = 1;
    for (Bytes at = 0; at < kMadeBytes; at += static_cast<Bytes>(kPiece)) {
      for (uint32_t& word : words) word = state = state * 1664525 + 1013904223;
      if (write(descriptor, words.data(), kPiece) != static_cast<ssize_t>(kPiece))
        return IoError("cannot be written", path);
    }
    if (fsync(descriptor) != 0) return IoError("cannot be written", path);
    return file;
  }

  const std::string& path() const { return path_; }

  Result<Bytes> Size() const {
    struct stat status {};
    if (fstat(descriptor_, &status) != 0) return IoError("cannot be read", path_);
    if (!S_ISREG(status.st_mode) || status.st_size == 0)
      return MakeError(ErrorCode::kInvalidArgument,
                       "{} is empty or not a file; name one of some megabytes", path_);
    return std::min<Bytes>(status.st_size, kMostBytes);
  }

  Status ReadThrough(Bytes size) const {
    static thread_local std::vector<char> into(kPiece);
    for (Bytes at = 0; at < size;) {
      const auto wanted = std::min<Bytes>(static_cast<Bytes>(kPiece), size - at);
      const ssize_t got = pread(descriptor_, into.data(), static_cast<size_t>(wanted), at);
      if (got <= 0) return IoError("cannot be read", path_);
      at += got;
    }
    return OkStatus();
  }

  /// Whether the page cache holds nothing of it now.
  bool Drop(Bytes size) const {
    if (posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED) != 0) return false;
    const auto length = static_cast<size_t>(size);
    void* const mapped = mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (mapped == MAP_FAILED) return false;
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> resident((length + page - 1) / page);
    const bool asked = mincore(mapped, length, resident.data()) == 0;
    munmap(mapped, length);
    return asked && std::none_of(resident.begin(), resident.end(),
                                 [](unsigned char byte) { return (byte & 1) != 0; });
  }

 private:
  int descriptor_;
  std::string path_;
};

double ColdRate(const OpenFile& file, Bytes size, const Clock& clock, int runs) {
  std::vector<double> rates;
  const Moment start = clock.Now();
  while (static_cast<int>(rates.size()) < runs && clock.Now() - start < kColdTime) {
    if (!file.Drop(size)) return 0;
    const Moment begin = clock.Now();
    if (!file.ReadThrough(size).ok()) return 0;
    rates.push_back(static_cast<double>(size) / Seconds(clock.Now() - begin));
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace

Result<FileReadRate> MeasureFileRead(const std::string& path, const Clock& clock,
                                     const RateRuns& runs) {
  WEFT_ASSIGN_OR_RETURN(const OpenFile file,
                        path.empty() ? OpenFile::Made() : OpenFile::Existing(path));
  WEFT_ASSIGN_OR_RETURN(const Bytes size, file.Size());
  FileReadRate rate;
  rate.path = path;
  rate.cold = ColdRate(file, size, clock, runs.runs);
  Status read = OkStatus();
  rate.cached = MedianRate(clock, runs, [&] {
    if (read.ok()) read = file.ReadThrough(size);
    return static_cast<double>(size);
  });
  WEFT_RETURN_IF_ERROR(read);
  return rate;
}

}  // namespace weft::bench
