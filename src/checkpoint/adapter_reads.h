#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bfloat16.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/peft_adapter.h"

namespace weft::checkpoint {

/// One matrix inside a ReadRange.
struct RangePart {
  int32_t module = 0;  ///< Index into AdapterFiles::modules.
  bool is_b = false;   ///< B, otherwise A.
  Bytes offset = 0;    ///< From the start of the range.
};

/// Bytes of the adapter's file that are read with one call.
struct ReadRange {
  Bytes offset = 0;  ///< From the start of the file.
  Bytes size = 0;
  std::vector<RangePart> parts;
};

/// The reads that bring one layer's matrices in. Matrices that touch in the file are one range, as
/// are those less than `kMergeGap` apart; PEFT's own files come out as one range a layer. Empty
/// for a layer the adapter does not change.
std::vector<ReadRange> PlanLayerReads(const AdapterFiles& adapter, LayerIndex layer);
inline constexpr Bytes kMergeGap = 64 * kKiB;

/// Reads a range into the first `range.size` bytes of the caller's buffer. Blocks.
Status ReadRaw(const File& file, const ReadRange& range, std::span<std::byte> into);

/// A part's stored bytes, inside the buffer that ReadRaw filled.
std::span<const std::byte> PartBytes(const AdapterFiles& adapter, const RangePart& part,
                                     std::span<const std::byte> buffer);
/// The matrix that a part holds.
const TensorRef& PartTensor(const AdapterFiles& adapter, const RangePart& part);

/// Converts a matrix's stored bytes, row-major, `into` = rows x columns. NaN, infinity, and for
/// bfloat16 a value that rounds to infinity, are errors that name the tensor and the index.
Status ConvertTensor(const TensorRef& tensor, std::span<const std::byte> raw,
                     std::span<BFloat16> into);
Status ConvertTensor(const TensorRef& tensor, std::span<const std::byte> raw,
                     std::span<float> into);

}  // namespace weft::checkpoint
