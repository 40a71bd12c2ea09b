#pragma once

#include <string>

#include "base/median_rate.h"
#include "base/result.h"

namespace weft::bench {

/// How fast a file is read, in bytes a second.
struct FileReadRate {
  std::string path;
  double cached = 0;  ///< From the system's page cache.
  double cold = 0;    ///< From the disk; 0: the file system keeps the file in memory.
};

/// Reads `path`, or when it is empty a file of 64 MiB made for that in the folder for temporary
/// files and removed again, in pieces of 4 MiB. What is cold is made so by asking the
/// system to drop the file from its page cache, and looking whether it did. Blocks. Errors: the
/// file cannot be read, or not be made.
Result<FileReadRate> MeasureFileRead(const std::string& path, const Clock& clock,
                                     const RateRuns& runs);

}  // namespace weft::bench
