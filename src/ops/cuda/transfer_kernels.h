#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

// Small data between host and GPU without a copy engine: there it would wait behind the pages of an
// adapter that is being copied.
namespace weft::ops::cuda {

inline constexpr int32_t kMostPieces = 48;

/// Copies pieces between two areas, one in device memory, one pinned on the host: piece i is
/// `bytes[i]` at `offsets[i]` of both. Offsets and areas are aligned to 16 bytes; what lies between
/// the end of a piece and the next multiple of 16 may be copied too.
struct TransferParams {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  int32_t pieces = 0;
  std::array<int64_t, kMostPieces> offsets = {};
  std::array<int64_t, kMostPieces> bytes = {};

  void Add(int64_t offset, int64_t size) {
    WEFT_CHECK(pieces < kMostPieces);
    const auto piece = static_cast<size_t>(pieces++);
    offsets[piece] = offset;
    bytes[piece] = size;
  }
};
void LaunchTransfer(const TransferParams& params, cudaStream_t stream);

}  // namespace weft::ops::cuda
