#pragma once

#include <span>

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// Reads elements stored as `type` from `offset` of the file on and widens them, piece by piece, so
/// that it needs a few MiB beside `into`. into.size() is a multiple of the type's block. Blocks.
Status ReadStored(const File& file, StoredType type, Bytes offset, std::span<float> into);

/// Reads elements that are stored as kBF16 (`type`, which nothing else may be) as they are. Blocks.
Status ReadStored(const File& file, StoredType type, Bytes offset, std::span<BFloat16> into);

}  // namespace weft::checkpoint
