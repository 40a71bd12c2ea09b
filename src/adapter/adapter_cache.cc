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

std::vector<AdapterRecord*> AdapterCache::Watched() const {
  std::vector<AdapterRecord*> watched;
  watched.reserve(watched_.size());
  for (const auto& [version, record] : watched_) watched.push_back(record);
  return watched;
}

// Loading

bool AdapterCache::StartRead(AdapterRecord& record) {
  if (record.residency.host != HostTier::kAbsent) return true;
  if (reads_in_flight_ >= options_.max_concurrent_reads) return false;
  record.Apply(ResidencyEvent::kStartRead);
  if (record.opened) {
    if (!TryRead(record)) {
      awaiting_room_.push_back(record.version);
      return false;
    }
  } else {
    ++reads_in_flight_;
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
  host_images_.emplace(record.version, &record);
  ++reads_in_flight_;
  record.read_cancelled = std::make_shared<CancelFlag>(false);
  ReadJob job{record.version, record.opened, {}, record.read_cancelled};
  for (const PageIndex page : record.host_pages) {
    job.pages.push_back(options_.host_arena + page.value() * options_.page_bytes);
  }
  io_.Read(std::move(job));
  return true;
}

bool AdapterCache::MakeHostRoom(int32_t pages, const AdapterRecord& wanting) {
  std::vector<AdapterRecord*> victims;
  for (const auto& [version, record] : host_images_) {
    if (HostEvictable(*record, wanting)) victims.push_back(record);
  }
  // First what no waiting request needs, longest unused first; then what is needed last.
  std::stable_sort(
      victims.begin(), victims.end(), [](const AdapterRecord* a, const AdapterRecord* b) {
        if (a->NeedsImage() != b->NeedsImage()) return !a->NeedsImage();
        return a->NeedsImage() ? a->first_waiting > b->first_waiting : a->last_use < b->last_use;
      });
  // Nothing is given up for a read that would not fit all the same.
  int32_t room = host_pool_.free();
  auto images = static_cast<int32_t>(host_images_.size());
  size_t count = 0;
  const auto fits = [&] {
    return room >= pages && (options_.max_loaded == 0 || images < options_.max_loaded);
  };
  for (; count < victims.size() && !fits(); ++count, --images) {
    room += static_cast<int32_t>(victims[count]->host_pages.size());
  }
  if (!fits()) return false;
  for (size_t i = 0; i < count; ++i) ReleaseHost(*victims[i]);
  return true;
}

bool AdapterCache::HostEvictable(const AdapterRecord& record, const AdapterRecord& wanting) const {
  const bool needed_sooner =
      record.NeedsImage() && (wanting.waiting == 0 || record.first_waiting < wanting.first_waiting);
  return &record != &wanting && record.residency.host == HostTier::kReady &&
         (!record.pinned || record.ready()) && record.residency.device != DeviceTier::kCopying &&
         record.residency.device != DeviceTier::kReleasing && !needed_sooner;
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
  for (const auto& [version, record] : watched_) {
    if (record == except || !record->idle_on_device()) continue;
    if (victim == nullptr || eviction_->Rank(*record) < eviction_->Rank(*victim)) victim = record;
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
  host_images_.erase(record.version);
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

// Replies

void AdapterCache::Fail(AdapterRecord& record, const Error& error) {
  ++loads_by_result_["error"];
  host_images_.erase(record.version);
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
  --reads_in_flight_;
  if (message.opened.ok()) record->opened = *message.opened;
  if (record->residency.host == HostTier::kReleasing) {
    FinishHostRelease(*record);
    Settle(*record);
    return;
  }
  if (!message.opened.ok()) {
    Error error = message.opened.error();
    if (record->discovered && error.code == ErrorCode::kNotFound) {
      error.message =
          "it is not loaded, and the folder of adapters (--lora-dir) has none of that name";
    }
    Fail(*record, error);
    return;
  }
  const Status fits = CheckRoom(*record);
  if (!fits.ok()) {
    Fail(*record, fits.error());
    return;
  }
  if (!TryRead(*record)) awaiting_room_.push_back(record->version);
}

int32_t AdapterCache::PinnedPages() const {
  int32_t pages = 0;
  for (const auto& [version, record] : watched_) {
    const bool stays = record->residency.lifecycle == Lifecycle::kActive;
    if (record->pinned && stays) pages += record->image_pages();
  }
  return pages;
}

int32_t AdapterCache::LargestUnpinned() const {
  int32_t largest = 0;
  for (const auto& [version, record] : records_) {
    if (!record->pinned) largest = std::max(largest, record->image_pages());
  }
  return largest;
}

/// Pinned adapters never give way, so they must leave room for the largest of the others.
Status AdapterCache::CheckRoom(const AdapterRecord& record) const {
  const int32_t room = options_.adapter_page_limit > 0
                           ? std::min(options_.adapter_page_limit, device_pool_.total())
                           : device_pool_.total();
  const int32_t pinned = PinnedPages();
  if (!record.pinned && pinned + record.image_pages() > room) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "takes {} pages of {}, but adapters may hold {} on the device, {} of them pinned; "
        "start the server with more --lora-memory or --kv-memory",
        record.image_pages(), FormatBytes(options_.page_bytes), room, pinned);
  }
  const int32_t largest = record.pinned ? LargestUnpinned() : 0;
  if (record.pinned && pinned + largest > room) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "pinned adapters would take {} pages of {} and leave too few of {} for the largest "
        "other one, which takes {}; pin fewer, or start the server with more --lora-memory "
        "or --kv-memory",
        pinned, FormatBytes(options_.page_bytes), room, largest);
  }
  if (record.image_pages() > host_pool_.total()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "takes {} pages of {}, but host memory for adapters has only {}; start the "
                     "server with more --lora-host-memory",
                     record.image_pages(), FormatBytes(options_.page_bytes), host_pool_.total());
  }
  return OkStatus();
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
    if (on_failure) {
      on_failure(*record, message.status.error().WithContext("adapter '" + record->name + "'"));
    }
    if (record->residency.device == DeviceTier::kCopying) {
      record->Apply(ResidencyEvent::kReleaseDevice);
      FinishDeviceRelease(*record);
    }
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
  Watch(*record);
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
  // Who waits longest is first, and nobody takes the room from under it.
  std::stable_sort(awaiting_room_.begin(), awaiting_room_.end(),
                   [this](AdapterVersion a, AdapterVersion b) {
                     return Find(a)->first_waiting < Find(b)->first_waiting;
                   });
  for (const AdapterVersion version : std::vector(awaiting_room_)) {
    AdapterRecord* record = Find(version);
    WEFT_CHECK(record != nullptr);
    if (reads_in_flight_ >= options_.max_concurrent_reads || !TryRead(*record)) break;
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
  watched_.erase(version);
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
