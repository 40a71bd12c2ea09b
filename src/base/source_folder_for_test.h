#pragma once

#include <cstdlib>
#include <string>

namespace weft {

/// Where the tests' data are: the checkout that they were built from or, elsewhere, what
/// WEFT_SOURCE_DIR in the environment says.
inline std::string SourceFolder() {
  const char* folder = std::getenv("WEFT_SOURCE_DIR");
  return folder != nullptr ? folder : WEFT_SOURCE_DIR;
}

}  // namespace weft
