#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <ostream>

#include "adapter/load_policy.h"
#include "engine/scheduler.h"
#include "engine/snapshot.h"

namespace weft::engine {

// NOLINTNEXTLINE: found by GoogleTest.
inline void PrintTo(const Plan::Slice& slice, std::ostream* out) {
  *out << "request " << slice.id.value() << ": " << slice.rows << " rows";
}

inline SequenceView Running(int64_t id, int64_t adapter, int32_t known, int32_t computed) {
  SequenceView view;
  view.id = RequestId(id);
  view.adapter = AdapterVersion(adapter);
  view.known = known;
  view.computed = computed;
  view.pages = (known + 15) / 16;
  view.has_lease = adapter != 0;
  return view;
}

inline SequenceView Waiting(int64_t id, int64_t adapter, int32_t known, bool has_lease = false) {
  SequenceView view;
  view.id = RequestId(id);
  view.adapter = AdapterVersion(adapter);
  view.known = known;
  view.has_lease = has_lease;
  return view;
}

inline AdapterView Adapter(int64_t version, adapter::HostTier host, adapter::DeviceTier device,
                           int32_t leases = 0) {
  AdapterView view;
  view.version = AdapterVersion(version);
  view.host = host;
  view.device = device;
  view.pages = 10;
  view.leases = leases;
  return view;
}

inline AdapterView Resident(int64_t version, int32_t leases = 0) {
  return Adapter(version, adapter::HostTier::kReady, adapter::DeviceTier::kReady, leases);
}

inline AdapterView InHostMemory(int64_t version) {
  return Adapter(version, adapter::HostTier::kReady, adapter::DeviceTier::kAbsent);
}

/// Plans from a snapshot that a test writes.
class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() {
    snapshot_.free_pages = 1000;
    limits_.max_prefill_tokens = 512;
  }

  Plan Make(adapter::LoadPolicyKind kind = adapter::LoadPolicyKind::kOverlapped) {
    const auto policy = adapter::MakeLoadPolicy(kind);
    return MakePlan(snapshot_, limits_, *policy);
  }

  Snapshot snapshot_;
  SchedulerLimits limits_;
};

}  // namespace weft::engine
