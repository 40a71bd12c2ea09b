#include "checkpoint/widen.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "checkpoint/dequantize.h"
#include "checkpoint/half_float.h"

namespace weft::checkpoint {
namespace {

template <typename T>
T Load(const std::byte* from, size_t index) {
  T value;
  std::memcpy(&value, from + index * sizeof(T), sizeof(T));
  return value;
}

/// Index of the first element whose exponent bits are all set. The first pass has no exit, so that
/// it vectorises.
template <typename T>
std::optional<int64_t> FirstWithExponent(const std::byte* raw, size_t count, T exponent) {
  T found = 0;
  for (size_t i = 0; i < count; ++i) {
    found |= static_cast<T>((Load<T>(raw, i) & exponent) == exponent);
  }
  if (found == 0) return std::nullopt;
  size_t first = 0;
  while ((Load<T>(raw, first) & exponent) != exponent) ++first;
  return static_cast<int64_t>(first);
}

}  // namespace

StoredBlock BlockOf(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return {1, 4};
    case StoredType::kF16:
    case StoredType::kBF16:
      return {1, 2};
    case StoredType::kQ8_0:
      return {kGgufBlock, kQ8_0Bytes};
    case StoredType::kQ4_0:
      return {kGgufBlock, kQ4_0Bytes};
    case StoredType::kQ4_1:
      return {kGgufBlock, kQ4_1Bytes};
    case StoredType::kQ5_0:
      return {kGgufBlock, kQ5_0Bytes};
    case StoredType::kQ5_1:
      return {kGgufBlock, kQ5_1Bytes};
    case StoredType::kQ2_K:
      return {kGgufSuperBlock, kQ2_KBytes};
    case StoredType::kQ3_K:
      return {kGgufSuperBlock, kQ3_KBytes};
    case StoredType::kQ4_K:
      return {kGgufSuperBlock, kQ4_KBytes};
    case StoredType::kQ5_K:
      return {kGgufSuperBlock, kQ5_KBytes};
    case StoredType::kQ6_K:
      return {kGgufSuperBlock, kQ6_KBytes};
  }
  WEFT_CHECK(false);
}

std::span<const std::string_view> StoredTypeNames() {
  static constexpr std::string_view kNames[] = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0",
                                                "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K",
                                                "Q4_K", "Q5_K", "Q6_K"};
  return kNames;
}

std::string_view StoredTypeName(StoredType type) {
  return StoredTypeNames()[static_cast<size_t>(type)];
}

Bytes StoredBytes(StoredType type, int64_t elements) {
  const StoredBlock block = BlockOf(type);
  WEFT_CHECK(elements % block.elements == 0);
  return elements / block.elements * block.bytes;
}

void WidenToFloat(StoredType type, std::span<const std::byte> raw, std::span<float> into) {
  const size_t count = into.size();
  WEFT_CHECK(static_cast<Bytes>(raw.size()) == StoredBytes(type, static_cast<int64_t>(count)));
  const std::byte* from = raw.data();
  float* to = into.data();
  switch (type) {
    case StoredType::kF32:
      if (count > 0) std::memcpy(to, from, raw.size());
      return;
    case StoredType::kF16:
      for (size_t i = 0; i < count; ++i) to[i] = HalfToFloat(Load<uint16_t>(from, i));
      return;
    case StoredType::kBF16:
      for (size_t i = 0; i < count; ++i) to[i] = ToFloat(BFloat16{Load<uint16_t>(from, i)});
      return;
    case StoredType::kQ8_0:
      return DequantizeQ8_0(raw, into);
    case StoredType::kQ4_0:
      return DequantizeQ4_0(raw, into);
    case StoredType::kQ4_1:
      return DequantizeQ4_1(raw, into);
    case StoredType::kQ5_0:
      return DequantizeQ5_0(raw, into);
    case StoredType::kQ5_1:
      return DequantizeQ5_1(raw, into);
    case StoredType::kQ2_K:
      return DequantizeQ2_K(raw, into);
    case StoredType::kQ3_K:
      return DequantizeQ3_K(raw, into);
    case StoredType::kQ4_K:
      return DequantizeQ4_K(raw, into);
    case StoredType::kQ5_K:
      return DequantizeQ5_K(raw, into);
    case StoredType::kQ6_K:
      return DequantizeQ6_K(raw, into);
  }
}

std::optional<int64_t> FirstNotFinite(StoredType type, std::span<const std::byte> raw) {
  switch (type) {
    case StoredType::kF32:
      return FirstWithExponent<uint32_t>(raw.data(), raw.size() / 4, 0x7f800000u);
    case StoredType::kF16:
      return FirstWithExponent<uint16_t>(raw.data(), raw.size() / 2, 0x7c00u);
    case StoredType::kBF16:
      return FirstWithExponent<uint16_t>(raw.data(), raw.size() / 2, 0x7f80u);
    default:
      WEFT_CHECK(false);
  }
}

std::optional<int64_t> NarrowToBFloat16(StoredType type, std::span<const std::byte> raw,
                                        std::span<BFloat16> into) {
  // A piece is checked while it is still in the first-level cache.
  constexpr size_t kPiece = 4096;
  const size_t width = static_cast<size_t>(BlockOf(type).bytes);
  WEFT_CHECK(BlockOf(type).elements == 1 && raw.size() == into.size() * width);
  std::optional<int64_t> bad;
  for (size_t start = 0; start < into.size(); start += kPiece) {
    const size_t count = std::min(kPiece, into.size() - start);
    const std::byte* from = raw.data() + start * width;
    BFloat16* to = into.data() + start;
    if (type == StoredType::kBF16) {
      std::memcpy(to, from, count * width);
    } else if (type == StoredType::kF16) {
      for (size_t i = 0; i < count; ++i) to[i] = ToBFloat16(HalfToFloat(Load<uint16_t>(from, i)));
    } else {
      for (size_t i = 0; i < count; ++i) to[i] = ToBFloat16(Load<float>(from, i));
    }
    if (bad) continue;
    const auto raw_piece = std::as_bytes(std::span(to, count));
    bad = FirstNotFinite(StoredType::kBF16, raw_piece);
    if (bad) *bad += static_cast<int64_t>(start);
  }
  return bad;
}

}  // namespace weft::checkpoint
