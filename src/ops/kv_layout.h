#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/dtype.h"
#include "checkpoint/model_config.h"

namespace weft::ops {

/// Tokens of KV are kept in groups of this many; a page is a whole number of groups.
inline constexpr int32_t kKvGroup = 16;

/// How a page holds KV: `tokens_per_page` tokens, every layer, K and V, without gaps between. Page
/// i lies at arena + i * page_bytes. Page 0 is scratch: never anybody's. The order inside a layer
/// is the backend's choice; sizes do not depend on it.
struct KvLayout {
  int32_t tokens_per_page = 0;
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBFloat16;
  Bytes page_bytes = 0;

  /// The smallest multiple of 16 tokens that fills `min_page_bytes` (an adapter's largest tile).
  static KvLayout For(const ModelConfig& config, DType dtype, Bytes min_page_bytes);

  /// K, or V, of one kv head of one layer for one group of 16 tokens.
  Bytes group_bytes() const { return Bytes{kKvGroup} * head_dim * SizeOf(dtype); }
  /// From the start of a page to K (V: one further, `v` true) of a head of a layer.
  Bytes HeadOffset(int32_t layer, int32_t head, bool v) const {
    const Bytes groups = tokens_per_page / kKvGroup;
    return ((Bytes{layer} * 2 + (v ? 1 : 0)) * kv_heads + head) * groups * group_bytes();
  }
};

}  // namespace weft::ops
