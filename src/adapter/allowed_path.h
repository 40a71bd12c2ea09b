#pragma once

#include <string>

#include "base/file.h"
#include "base/result.h"

namespace weft::adapter {

/// The adapter folder at `path` with its links resolved. With a `root` (not empty) the folder and
/// the files that an adapter is read from must lie under it, wherever links lead; a Hugging Face
/// cache as root works, since its snapshots link to blobs under the same root. Blocks.
Result<std::string> ResolveAdapterFolder(FileSystem& files, const std::string& path,
                                         const std::string& root);

}  // namespace weft::adapter
