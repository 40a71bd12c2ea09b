#pragma once

#include <string>

namespace weft::device {

/// A rate of one of a device's units (a processor's thread) and of all of them together, in bytes
/// or operations a second. 0: not measured, or the device has no single units to ask.
struct Rate {
  double one = 0;
  double all = 0;
};

/// What a device can do at most, as measured: what the figures of operators are a share of.
/// Whoever measures says how; nothing here is particular to a kind of device.
struct Ceilings {
  std::string device;        ///< Device::name().
  std::string instructions;  ///< What the arithmetic was done with: "avx512bf16".
  int units = 0;             ///< How many "all" are.
  Rate memory_read;          ///< Of memory that no cache holds.
  Rate memory_copy;          ///< Bytes copied; each is read once and written once.
  Rate bfloat16;             ///< Multiplications and additions, counted apart.
  Rate float32;
};

}  // namespace weft::device
