#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "ops/cpu/kernels.h"

namespace weft::ops::cpu {

/// A panel of a bf16 weight in three quarters of its size, without loss. The low byte of an element
/// stays as it is. Of the high byte, which has the sign and most of the exponent, a panel of a
/// trained weight has sixteen values almost everywhere: a code of four bits names one of them.
/// Elements with another high byte are listed. docs/decisions/0012 has the figures.
///
///     header   [16] high bytes by code, then exceptions in the order of their units, kNoUnit last
///     unit     8 elements of k, 16 columns: 64 low bytes, 64 low bytes, 64 pairs of codes
///
/// A unit's four plain columns (two along k, sixteen columns: 64 bytes) are c0 to c3. Byte 16 j + i
/// of the first low bytes is element 8 j + i of c0 for i < 8, element 8 j + i - 8 of c1 for others;
/// the second are those of c2 and c3. The low half of a byte of codes belongs to the first low
/// bytes, the high half to the second: so two shuffles and two unpackings give plain columns.

inline constexpr int32_t kCodedDepth = 8;  ///< Elements of k in a unit.
inline constexpr Bytes kCodedUnit = 3 * 64;
inline constexpr Bytes kCodes = 16;

struct CodedException {
  uint16_t unit;
  uint8_t place;  ///< Of the unit's 128 low bytes.
  uint8_t high;
};
inline constexpr uint16_t kNoUnit = 0xFFFF;
/// Instead of a first exception: the panel is plain, at the address that lies kPlainAddress bytes
/// into the header.
inline constexpr uint16_t kPlainPanel = 0xFFFE;
inline constexpr Bytes kPlainAddress = kCodes + 8;

inline constexpr int32_t kMostCodedDepth = kPlainPanel * kCodedDepth;
static_assert(kWeightDepth % kCodedDepth == 0 && sizeof(CodedException) == 4);

/// SmolLM2 has one element in 36,000 that is an exception: a line has room for 11 of them, and one
/// more line for each 65,536 elements for 16.
inline constexpr int32_t kUnitsOfALine = 512;
constexpr Bytes CodedHeaderBytes(int32_t in) { return 64 * (1 + in / kCodedDepth / kUnitsOfALine); }
constexpr Bytes CodedPanelBytes(int32_t in) {
  return CodedHeaderBytes(in) + in / kCodedDepth * kCodedUnit;
}
constexpr int32_t MostExceptions(int32_t in) {
  return static_cast<int32_t>((CodedHeaderBytes(in) - kCodes) / Bytes{sizeof(CodedException)}) - 1;
}

}  // namespace weft::ops::cpu
