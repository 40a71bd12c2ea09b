#include "adapter/adapter_cache.h"

#include <algorithm>
#include <utility>

#include "adapter/adapter_table.h"
#include "base/check.h"

namespace weft::adapter {

void AdapterRecord::Apply(ResidencyEvent event) {
  const std::optional<Residency> next = Next(residency, event);
  WEFT_CHECK(next.has_value());
  residency = *next;
}

AdapterCache::AdapterCache(AdapterCacheOptions options, const ModelConfig& config,
                           memory::PagePool& device_pool, AdapterIo& io, const Clock& clock)
    : options_(std::move(options)),
      config_(config),
      device_pool_(device_pool),
      host_pool_(std::max(options_.host_page_count, 1)),
      io_(io),
      clock_(clock),
      eviction_(MakeEvictionPolicy(options_.eviction)) {}

AdapterCache::~AdapterCache() = default;

AdapterRecord* AdapterCache::Find(AdapterVersion version) {
  const auto found = records_.find(version);
  return found == records_.end() ? nullptr : found->second.get();
}

std::vector<AdapterRecord*> AdapterCache::Records() {
  std::vector<AdapterRecord*> all;
  all.reserve(records_.size());
  for (auto& [version, record] : records_) all.push_back(record.get());
  return all;
}

// --- Loading
// -------------------------------------------------------------------------------------------------------

bool AdapterCache::StartRead(AdapterRecord& record) {
  if (record.residency.host != HostTier::kAbsent) return true;
  if (reads_in_flight_ >= options_.max_concurrent_reads) return false;
  record.Apply(ResidencyEvent::kStartRead);
  ++reads_in_flight_;
  if (record.opened) {
    if (!TryRead(record)) awaiting_room_.push_back(record.version);
  } else {
    record.read_cancelled = std::make_shared<CancelFlag>(false);
    io_.Open({record.version, record.path, record.discovered ? options_.lora_dir : std::string()});
  }
  return true;
}

bool AdapterCache::TryRead(AdapterRecord& record) {
  const int32_t pages = record.image_pages();
  if (!MakeHostRoom(pages, record)) return false;
  auto allocated = host_pool_.Allocate(pages, memory::PageUse::kAdapter);
  if (!allocated) return false;
  record.host_pages = *std::move(allocated);
  ++host_images_;
  record.read_cancelled = std::make_shared<CancelFlag>(false);
  ReadJob job{record.version, record.opened, {}, record.read_cancelled};
  for (const PageIndex page : record.host_pages) {
    job.pages.push_back(options_.host_arena + page.value() * options_.page_bytes);
  }
  io_.Read(std::move(job));
  return true;
}

bool AdapterCache::MakeHostRoom(int32_t pages, const AdapterRecord& wanting) {
  const auto fits = [&] {
    return host_pool_.free() >= pages &&
           (options_.max_loaded == 0 || host_images_ < options_.max_loaded);
  };
  while (!fits()) {
    AdapterRecord* victim = NextHostEviction(wanting);
    if (victim == nullptr) return false;
    ReleaseHost(*victim);
  }
  return true;
}

AdapterRecord* AdapterCache::NextHostEviction(const AdapterRecord& wanting) const {
  AdapterRecord* victim = nullptr;
  for (const auto& [version, record] : records_) {
    const bool needed_for_copy = record->waiting > 0 && !record->ready();
    if (record.get() == &wanting || record->residency.host != HostTier::kReady || record->pinned ||
        record->copy_cancelled != nullptr || needed_for_copy) {
      continue;
    }
    if (victim == nullptr || record->last_use < victim->last_use) victim = record.get();
  }
  return victim;
}

int32_t AdapterCache::ReclaimablePages(const AdapterRecord* except) const {
  int32_t pages = 0;
  for (const auto& [version, record] : records_) {
    if (record.get() != except && record->idle_on_device()) {
      pages += static_cast<int32_t>(record->device_pages.size());
    }
  }
  return pages;
}

bool AdapterCache::StartCopy(AdapterRecord& record, CopyUrgency urgency) {
  WEFT_CHECK(record.residency.host == HostTier::kReady);
  const int32_t pages = record.image_pages();
  if (options_.adapter_page_limit > 0 &&
      device_pool_.used(memory::PageUse::kAdapter) + pages > options_.adapter_page_limit) {
    return false;
  }
  auto allocated = device_pool_.Allocate(pages, memory::PageUse::kAdapter);
  if (!allocated) return false;
  record.device_pages = *std::move(allocated);
  record.Apply(ResidencyEvent::kStartCopy);
  record.copy_cancelled = std::make_shared<CancelFlag>(false);
  CopyJob job{record.version, {}, {}, urgency, record.copy_cancelled};
  for (int32_t i = 0; i < pages; ++i) {
    job.host.push_back(options_.host_arena + record.host_pages[i].value() * options_.page_bytes);
    job.device.push_back(options_.device_arena +
                         record.device_pages[i].value() * options_.page_bytes);
  }
  io_.Copy(std::move(job));
  return true;
}

void AdapterCache::Promote(AdapterRecord& record) { io_.Promote(record.version); }

AdapterRecord* AdapterCache::NextEviction(const AdapterRecord* except) const {
  AdapterRecord* victim = nullptr;
  for (const auto& [version, record] : records_) {
    if (record.get() == except || !record->idle_on_device()) continue;
    if (victim == nullptr || eviction_->Rank(*record) < eviction_->Rank(*victim)) {
      victim = record.get();
    }
  }
  return victim;
}

void AdapterCache::EvictDevice(AdapterRecord& record) {
  WEFT_CHECK(record.leases == 0);
  if (record.ready()) ++evictions_;
  if (record.copy_cancelled) record.copy_cancelled->store(true, std::memory_order_relaxed);
  record.Apply(ResidencyEvent::kReleaseDevice);
  record.table.reset();
  FinishDeviceRelease(record);
}

void AdapterCache::FinishDeviceRelease(AdapterRecord& record) {
  if (record.residency.device != DeviceTier::kReleasing || record.copy_cancelled != nullptr) return;
  if (record.last_step > completed_step_) {
    unsettled_.insert(record.version);
    return;
  }
  device_pool_.Release(record.device_pages, record.last_step);
  record.device_pages.clear();
  record.Apply(ResidencyEvent::kDeviceReleased);
}

void AdapterCache::ReleaseHost(AdapterRecord& record) {
  if (record.read_cancelled) record.read_cancelled->store(true, std::memory_order_relaxed);
  if (record.residency.host == HostTier::kReading && record.read_cancelled == nullptr) {
    std::erase(awaiting_room_, record.version);
    --reads_in_flight_;
  }
  record.Apply(ResidencyEvent::kReleaseHost);
  FinishHostRelease(record);
}

void AdapterCache::FinishHostRelease(AdapterRecord& record) {
  if (record.residency.host != HostTier::kReleasing || record.read_cancelled != nullptr ||
      record.residency.device == DeviceTier::kCopying ||
      record.residency.device == DeviceTier::kReleasing) {
    return;
  }
  if (!record.host_pages.empty()) --host_images_;
  host_pool_.Release(record.host_pages, StepId(0));
  record.host_pages.clear();
  record.Apply(ResidencyEvent::kHostReleased);
}

void AdapterCache::DropUnwantedLoad(AdapterRecord& record) {
  if (record.users > 0 || record.awaited || record.pinned || record.leases > 0) return;
  if (record.wanted_until > clock_.Now()) return;
  if (record.residency.device == DeviceTier::kCopying) {
    ++loads_by_result_["dropped"];
    EvictDevice(record);
  }
  if (record.residency.host == HostTier::kReading) {
    ++loads_by_result_["dropped"];
    ReleaseHost(record);
  }
}

// --- Replies
// -------------------------------------------------------------------------------------------------------

void AdapterCache::Fail(AdapterRecord& record, const Error& error) {
  ++loads_by_result_["error"];
  if (!record.host_pages.empty()) --host_images_;
  host_pool_.Release(record.host_pages, StepId(0));
  record.host_pages.clear();
  record.opened.reset();
  record.Apply(ResidencyEvent::kReadFailed);
  record.failure = error.WithContext("adapter '" + record.name + "'");
  record.failed_at = clock_.Now();
  unsettled_.insert(record.version);
  if (on_failure) on_failure(record, record.failure);
}

void AdapterCache::On(const AdapterOpened& message) {
  AdapterRecord* record = Find(message.version);
  WEFT_CHECK(record != nullptr);
  record->read_cancelled.reset();
  if (message.opened.ok()) record->opened = *message.opened;
  if (record->residency.host == HostTier::kReleasing) {
    --reads_in_flight_;
    FinishHostRelease(*record);
    Settle(*record);
    return;
  }
  if (!message.opened.ok()) {
    --reads_in_flight_;
    Fail(*record, message.opened.error());
    return;
  }
  const int32_t pages = record->image_pages();
  const int32_t device_room = options_.adapter_page_limit > 0
                                  ? std::min(options_.adapter_page_limit, device_pool_.total())
                                  : device_pool_.total();
  if (pages > device_room || pages > host_pool_.total()) {
    --reads_in_flight_;
    Fail(*record,
         MakeError(ErrorCode::kResourceExhausted,
                   "takes {} pages of {}, but {} are available on the device (--lora-memory, "
                   "--kv-memory) and {} in host memory (--lora-host-memory)",
                   pages, FormatBytes(options_.page_bytes), device_room, host_pool_.total()));
    return;
  }
  if (!TryRead(*record)) awaiting_room_.push_back(record->version);
}

void AdapterCache::On(const AdapterRead& message) {
  AdapterRecord* record = Find(message.version);
  WEFT_CHECK(record != nullptr);
  record->read_cancelled.reset();
  --reads_in_flight_;
  if (record->residency.host == HostTier::kReleasing) {
    FinishHostRelease(*record);
    Settle(*record);
    return;
  }
  if (!message.status.ok()) {
    Fail(*record, message.status.error());
    return;
  }
  record->Apply(ResidencyEvent::kReadDone);
  Touch(*record);
  if (on_host_ready) on_host_ready(*record);
}

void AdapterCache::On(const AdapterCopied& message) {
  AdapterRecord* record = Find(message.version);
  WEFT_CHECK(record != nullptr);
  record->copy_cancelled.reset();
  copied_bytes_ += static_cast<uint64_t>(message.bytes);
  copy_busy_ += message.took;
  if (record->residency.device == DeviceTier::kReleasing) {
    FinishDeviceRelease(*record);
    FinishHostRelease(*record);
    Settle(*record);
    return;
  }
  if (!message.status.ok()) {
    // The device refused the copy: whoever waits is told; the image stays and the next request
    // tries again.
    ++loads_by_result_["error"];
    record->Apply(ResidencyEvent::kReleaseDevice);
    FinishDeviceRelease(*record);
    if (on_failure) on_failure(*record, message.status.error());
    return;
  }
  ++loads_by_result_["ok"];
  std::vector<std::byte*> pages;
  for (const PageIndex page : record->device_pages) {
    pages.push_back(options_.device_arena + page.value() * options_.page_bytes);
  }
  record->table = std::make_shared<const ops::AdapterTable>(
      BuildAdapterTable(record->opened->layout, config_, pages));
  record->Apply(ResidencyEvent::kCopyDone);
  Touch(*record);
  record->resident_since = now_;
}

void AdapterCache::OnStepCompleted(StepId step) {
  completed_step_ = step;
  for (const AdapterVersion version : std::vector(unsettled_.begin(), unsettled_.end())) {
    AdapterRecord* record = Find(version);
    if (record != nullptr) FinishDeviceRelease(*record);
  }
}

void AdapterCache::Sweep() {
  for (const AdapterVersion version : std::vector(unsettled_.begin(), unsettled_.end())) {
    AdapterRecord* record = Find(version);
    if (record == nullptr) {
      unsettled_.erase(version);
    } else {
      Settle(*record);
    }
  }
  for (const AdapterVersion version : std::vector(awaiting_room_)) {
    AdapterRecord* record = Find(version);
    WEFT_CHECK(record != nullptr);
    if (!TryRead(*record)) break;
    std::erase(awaiting_room_, version);
  }
}

void AdapterCache::Settle(AdapterRecord& record) {
  FinishDeviceRelease(record);
  FinishHostRelease(record);
  const bool drop_failed = record.residency.lifecycle == Lifecycle::kFailed && record.discovered &&
                           record.failure.code == ErrorCode::kNotFound && record.users == 0;
  if (drop_failed) {
    Unpublish(record);
    record.Apply(ResidencyEvent::kUnload);
  }
  if (record.residency.lifecycle == Lifecycle::kDraining && record.users == 0) {
    ReleaseEverything(record);
    if (record.residency.host == HostTier::kAbsent &&
        record.residency.device == DeviceTier::kAbsent) {
      record.Apply(ResidencyEvent::kDrained);
      Forget(record.version);
      return;
    }
  }
  const bool settled = record.residency.lifecycle == Lifecycle::kActive &&
                       record.residency.device != DeviceTier::kReleasing;
  if (settled) unsettled_.erase(record.version);
}

void AdapterCache::ReleaseEverything(AdapterRecord& record) {
  if (record.residency.device == DeviceTier::kCopying ||
      record.residency.device == DeviceTier::kReady) {
    EvictDevice(record);
  }
  if (record.residency.host == HostTier::kReading || record.residency.host == HostTier::kReady) {
    ReleaseHost(record);
  }
}

void AdapterCache::Forget(AdapterVersion version) {
  if (on_gone) on_gone(version);
  unsettled_.erase(version);
  records_.erase(version);
}

bool AdapterCache::AwaitsRoom(const AdapterRecord& record) const {
  return std::find(awaiting_room_.begin(), awaiting_room_.end(), record.version) !=
         awaiting_room_.end();
}

Bytes AdapterCache::host_bytes() const {
  return static_cast<Bytes>(host_pool_.used(memory::PageUse::kAdapter)) * options_.page_bytes;
}

}  // namespace weft::adapter
