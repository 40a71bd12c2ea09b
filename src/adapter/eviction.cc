#include "adapter/eviction.h"

namespace weft::adapter {
namespace {

class LeastRecentlyUsed final : public EvictionPolicy {
 public:
  int64_t Rank(const AdapterRecord& record) const override { return record.last_use; }
};

class FirstInFirstOut final : public EvictionPolicy {
 public:
  int64_t Rank(const AdapterRecord& record) const override { return record.resident_since; }
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(EvictionKind kind) {
  if (kind == EvictionKind::kFifo) return std::make_unique<FirstInFirstOut>();
  return std::make_unique<LeastRecentlyUsed>();
}

}  // namespace weft::adapter
