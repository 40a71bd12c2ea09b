#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "adapter/adapter_record.h"

namespace weft::adapter {

enum class EvictionKind : uint8_t { kLru, kFifo };

/// Which of several idle adapters gives way. Pure.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  /// The smaller, the sooner it goes.
  virtual int64_t Rank(const AdapterRecord& record) const = 0;
};

std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(EvictionKind kind);

}  // namespace weft::adapter
