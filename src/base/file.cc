#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/thread_role.h"

namespace weft {
namespace {

Error FromErrno(const std::string& path, const char* action) {
  const int number = errno;
  // Names that cannot be are the caller's mistake, like names that are not there.
  const ErrorCode code =
      (number == ENOENT || number == ENOTDIR || number == ENAMETOOLONG || number == ELOOP)
          ? ErrorCode::kNotFound
          : ErrorCode::kIo;
  return MakeError(code, "cannot {} '{}': {}", action, path, std::strerror(number));
}

class LocalFile final : public File {
 public:
  LocalFile(std::string path, int descriptor, Bytes size)
      : path_(std::move(path)), descriptor_(descriptor), size_(size) {}
  ~LocalFile() override { ::close(descriptor_); }
  LocalFile(const LocalFile&) = delete;
  LocalFile& operator=(const LocalFile&) = delete;

  Bytes size() const override { return size_; }

  Status Read(Bytes offset, std::span<std::byte> into) const override {
    AssertMayBlock("File::Read");
    size_t done = 0;
    while (done < into.size()) {
      const ssize_t got = ::pread(descriptor_, into.data() + done, into.size() - done,
                                  offset + static_cast<Bytes>(done));
      if (got > 0) {
        done += static_cast<size_t>(got);
      } else if (got == 0) {
        return MakeError(
            ErrorCode::kIo,
            "'{}' ends at byte {}, but {} bytes were expected at {}: the file is cut short", path_,
            offset + static_cast<Bytes>(done), into.size(), offset);
      } else if (errno != EINTR) {
        return FromErrno(path_, "read");
      }
    }
    return OkStatus();
  }

 private:
  const std::string path_;
  const int descriptor_;
  const Bytes size_;
};

class LocalFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> Open(const std::string& path) override {
    AssertMayBlock("FileSystem::Open");
    // Opening a pipe would wait for its writer; for a regular file O_NONBLOCK changes nothing.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return FromErrno(path, "open");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(descriptor);
      return MakeError(ErrorCode::kInvalidArgument, "'{}' is not a regular file", path);
    }
    return std::unique_ptr<File>(new LocalFile(path, descriptor, status.st_size));
  }

  Result<FileStamp> Stat(const std::string& path) override {
    AssertMayBlock("FileSystem::Stat");
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return FromErrno(path, "stat");
    const auto nanoseconds = [](const timespec& time) {
      return time.tv_sec * 1'000'000'000L + time.tv_nsec;
    };
    return FileStamp{status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim),
                     status.st_ino};
  }

  Result<std::vector<std::string>> ListFolders(const std::string& path) override {
    AssertMayBlock("FileSystem::ListFolders");
    std::error_code error;
    std::vector<std::string> names;
    for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->is_directory(error)) names.push_back(entry->path().filename().string());
    }
    if (error) return MakeError(ErrorCode::kIo, "cannot list '{}': {}", path, error.message());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::string> Resolve(const std::string& path) override {
    AssertMayBlock("FileSystem::Resolve");
    std::error_code error;
    std::filesystem::path resolved = std::filesystem::canonical(path, error);
    if (error) return MakeError(ErrorCode::kNotFound, "'{}': {}", path, error.message());
    return resolved.string();
  }
};

}  // namespace

Result<std::string> FileSystem::ReadText(const std::string& path, Bytes limit) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<File> file, Open(path));
  if (file->size() > limit) {
    return MakeError(ErrorCode::kInvalidArgument, "'{}' has {}, but at most {} are read", path,
                     FormatBytes(file->size()), FormatBytes(limit));
  }
  std::string text(static_cast<size_t>(file->size()), '\0');
  WEFT_RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

FileSystem& LocalFiles() {
  static LocalFileSystem files;
  return files;
}

}  // namespace weft
