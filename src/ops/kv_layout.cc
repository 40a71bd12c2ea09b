#include "ops/kv_layout.h"

#include <algorithm>

namespace weft::ops {

KvLayout KvLayout::For(const ModelConfig& config, DType dtype, Bytes min_page_bytes) {
  KvLayout layout;
  layout.layers = config.layers;
  layout.kv_heads = config.kv_heads;
  layout.head_dim = config.head_dim;
  layout.dtype = dtype;
  const Bytes unit = layout.group_bytes() * 2 * config.layers * config.kv_heads;
  const Bytes units = std::max<Bytes>(1, (min_page_bytes + unit - 1) / unit);
  layout.tokens_per_page = static_cast<int32_t>(units) * kKvGroup;
  layout.page_bytes = units * unit;
  return layout;
}

}  // namespace weft::ops
