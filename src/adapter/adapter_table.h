#pragma once

#include <cstddef>
#include <span>

#include "adapter/image_layout.h"
#include "checkpoint/model_config.h"
#include "ops/lora.h"

namespace weft::adapter {

/// The adapter as kernels see it: `pages[i]` is where page i of the image lies on the device.
/// Allocates; a few microseconds. The result's modules point into its own tiles: it may be moved,
/// never copied.
ops::AdapterTable BuildAdapterTable(const ImageLayout& layout, const ModelConfig& config,
                                    std::span<std::byte* const> pages);

}  // namespace weft::adapter
