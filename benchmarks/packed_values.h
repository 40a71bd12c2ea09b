#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/dtype.h"
#include "device/device.h"
#include "ops/cpu/elements.h"
#include "ops/cpu/kernels.h"

namespace weft {

/// Memory on huge pages, filled with small elements.
inline device::Buffer SmallValues(device::Device& device, DType dtype, int64_t elements) {
  device::Buffer buffer = std::move(device.AllocateDevice(elements * SizeOf(dtype))).value();
  for (int64_t i = 0; i < elements; ++i)
    ops::cpu::StoreElement(dtype, buffer.data(), i, 0.01F * static_cast<float>(i * 7919 % 37 - 18));
  return buffer;
}

/// The best kernels of this processor.
inline const ops::cpu::Kernels& BestKernels(DType dtype) {
  ops::cpu::Isa isa;
  WEFT_CHECK(ops::cpu::ChooseIsa(&isa));
  return ops::cpu::KernelsFor(isa, dtype);
}

}  // namespace weft
