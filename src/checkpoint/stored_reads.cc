#include "checkpoint/stored_reads.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {

Status ReadStored(const File& file, StoredType type, Bytes offset, std::span<float> into) {
  if (type == StoredType::kF32) return file.Read(offset, std::as_writable_bytes(into));
  constexpr size_t kPiece = 1 << 20;  // Elements; a multiple of every block.
  std::vector<std::byte> raw;
  for (size_t start = 0; start < into.size(); start += kPiece) {
    const std::span<float> piece = into.subspan(start, std::min(kPiece, into.size() - start));
    raw.resize(static_cast<size_t>(StoredBytes(type, static_cast<int64_t>(piece.size()))));
    const Bytes at = offset + StoredBytes(type, static_cast<int64_t>(start));
    WEFT_RETURN_IF_ERROR(file.Read(at, raw));
    WidenToFloat(type, raw, piece);
  }
  return OkStatus();
}

Status ReadStored(const File& file, StoredType type, Bytes offset, std::span<BFloat16> into) {
  WEFT_CHECK(type == StoredType::kBF16);
  return file.Read(offset, std::as_writable_bytes(into));
}

}  // namespace weft::checkpoint
