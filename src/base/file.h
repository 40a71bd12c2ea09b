#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace weft {

/// An open file, read at offsets. Threads may read the same File at once.
class File {
 public:
  virtual ~File() = default;
  /// The size when it was opened.
  virtual Bytes size() const = 0;
  /// Fills `into` from `offset`. A file that is shorter by now is a kIo error that names the file,
  /// never a partly filled buffer taken for whole.
  virtual Status Read(Bytes offset, std::span<std::byte> into) const = 0;
};

/// What tells one state of a file from a later one.
struct FileStamp {
  Bytes size = 0;
  int64_t modified_ns = 0;
  /// Tells a file from one that was put in its place or overwritten with its old time kept (cp -p,
  /// rsync -t).
  int64_t changed_ns = 0;
  uint64_t inode = 0;
  auto operator<=>(const FileStamp&) const = default;
};

/// Files and folders, so that simulation can own them: slow, short, corrupt or gone. Blocking
/// calls: never on the engine thread. Any other thread may call.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<std::unique_ptr<File>> Open(const std::string& path) = 0;
  virtual Result<FileStamp> Stat(const std::string& path) = 0;
  /// Names of the sub-folders, sorted.
  virtual Result<std::vector<std::string>> ListFolders(const std::string& path) = 0;
  /// The path with links and dots resolved.
  virtual Result<std::string> Resolve(const std::string& path) = 0;

  /// The whole file; an error beyond `limit`, because it was meant to be small.
  Result<std::string> ReadText(const std::string& path, Bytes limit = 256 * kMiB);
};

/// The machine's own files.
FileSystem& LocalFiles();

}  // namespace weft
