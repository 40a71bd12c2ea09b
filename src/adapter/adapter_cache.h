#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "adapter/adapter_record.h"
#include "adapter/eviction.h"
#include "adapter/loading.h"
#include "base/clock.h"
#include "base/result.h"
#include "checkpoint/model_config.h"
#include "memory/page_pool.h"

namespace weft::adapter {

struct AdapterCacheOptions {
  Bytes page_bytes = 0;
  std::byte* device_arena = nullptr;  ///< Page i at device_arena + i * page_bytes.
  std::byte* host_arena = nullptr;    ///< Likewise, pinned host memory.
  int32_t host_page_count = 0;        ///< Counts the never used page 0.
  int32_t max_loaded = 0;          ///< Host images at most (--max-loaded-loras); 0: as many as fit.
  int32_t adapter_page_limit = 0;  ///< Device pages adapters may hold (--lora-memory); 0: no limit.
  int32_t max_concurrent_reads = 4;
  EvictionKind eviction = EvictionKind::kLru;
  std::string lora_dir;  ///< Empty: adapters must be registered.
  Duration retry_after = std::chrono::seconds(5);
};

/// Every adapter there is, its host image and its device pages: names, versions, and the only place
/// that drives residency. It decides nothing about when to load; the engine asks. Engine thread
/// only; nothing blocks: work goes to AdapterIo and comes back through On().
class AdapterCache {
 public:
  AdapterCache(AdapterCacheOptions options, const ModelConfig& config,
               memory::PagePool& device_pool, AdapterIo& io, const Clock& clock);
  ~AdapterCache();

  // Names

  /// Takes a name that is free. `visible` false: requests cannot name it before Publish.
  Result<AdapterRecord*> Register(const std::string& name, const std::string& path, bool pinned,
                                  bool visible);
  /// Makes a version the one its name means; the version that was goes into draining. Returns the
  /// old one or null.
  AdapterRecord* Publish(AdapterRecord& record);
  /// The version a new request of this name gets. With a lora_dir an unknown name becomes a record
  /// to be opened.
  Result<AdapterRecord*> Resolve(const std::string& name);
  AdapterRecord* FindByName(std::string_view name);
  AdapterRecord* Find(AdapterVersion version);
  /// kUnload; the name becomes unknown at once and stays so, also under lora_dir, until registered
  /// again.
  void Unload(AdapterRecord& record);
  std::vector<AdapterRecord*> Records();

  // What a turn looks at: not every adapter there is, but those in use

  /// By version: every record with users, on the device, pinned, or that somebody said is wanted.
  /// Others among them are harmless, but cost time.
  std::vector<AdapterRecord*> Watched() const;
  /// The record got its first user, or is wanted soon.
  void Watch(AdapterRecord& record) { watched_.emplace(record.version, &record); }
  /// It has no users, is not on the device, not pinned and not wanted.
  void Unwatch(const AdapterRecord& record) { watched_.erase(record.version); }

  // Loading

  /// Begins to open and read the host image. Does nothing unless it is absent. False: no room or no
  /// reader now.
  bool StartRead(AdapterRecord& record);
  /// Begins the copy into pages of the pool. The caller has made room. False: too few free pages,
  /// or over the limit.
  bool StartCopy(AdapterRecord& record, CopyUrgency urgency);
  void Promote(AdapterRecord& record);
  /// Gives up the device pages; legal only without leases.
  void EvictDevice(AdapterRecord& record);
  /// The idle adapter that the eviction policy lets go first, or null.
  AdapterRecord* NextEviction(const AdapterRecord* except) const;
  /// Drops a load that nobody needs any more (P7).
  void DropUnwantedLoad(AdapterRecord& record);
  /// Time for recency: turns of the engine. Everything used in one turn is equally recent.
  void SetNow(int64_t turn) { now_ = turn; }
  void Touch(AdapterRecord& record) { record.last_use = now_; }
  /// Whether its read waits for host memory that nobody gives up yet.
  bool AwaitsRoom(const AdapterRecord& record) const;

  // Replies

  void On(const AdapterOpened& message);
  void On(const AdapterRead& message);
  void On(const AdapterCopied& message);
  void OnStepCompleted(StepId step);
  /// Frees versions that have drained, retries reads that lacked room. Called once a turn.
  void Sweep();

  /// Called when a read failed for good: whoever waits for the version must be told.
  std::function<void(AdapterRecord&, const Error&)> on_failure;
  /// Called when the host image is complete.
  std::function<void(AdapterRecord&)> on_host_ready;
  /// Called before a version is forgotten: its prefix blocks must go.
  std::function<void(AdapterVersion)> on_gone;

  int32_t reads_in_flight() const { return reads_in_flight_; }
  /// Device pages that pinned adapters hold or will hold.
  int32_t PinnedPages() const;
  Bytes host_bytes() const;
  uint64_t evictions() const { return evictions_; }
  LinkUse link_use() const { return io_.link_use(); }
  const std::map<std::string, uint64_t>& loads_by_result() const { return loads_by_result_; }

 private:
  bool MakeHostRoom(int32_t pages, const AdapterRecord& wanting);
  bool HostEvictable(const AdapterRecord& record, const AdapterRecord& wanting) const;
  bool TryRead(AdapterRecord& record);
  Status CheckRoom(const AdapterRecord& record) const;
  int32_t LargestUnpinned() const;
  void ReleaseHost(AdapterRecord& record);
  void FinishHostRelease(AdapterRecord& record);
  void Fail(AdapterRecord& record, const Error& error);
  void FinishDeviceRelease(AdapterRecord& record);
  void Forget(AdapterVersion version);
  void Settle(AdapterRecord& record);
  void ReleaseEverything(AdapterRecord& record);
  bool Unpublish(AdapterRecord& record);

  const AdapterCacheOptions options_;
  const ModelConfig& config_;
  memory::PagePool& device_pool_;
  memory::PagePool host_pool_;
  AdapterIo& io_;
  const Clock& clock_;
  std::unique_ptr<EvictionPolicy> eviction_;
  std::map<AdapterVersion, std::unique_ptr<AdapterRecord>> records_;
  std::map<AdapterVersion, AdapterRecord*> watched_;
  /// Those that hold host pages.
  std::map<AdapterVersion, AdapterRecord*> host_images_;
  std::map<std::string, AdapterVersion, std::less<>> names_;
  std::set<std::string, std::less<>> unloaded_names_;
  /// Opened, waiting for host pages, in the order they were asked for.
  std::vector<AdapterVersion> awaiting_room_;
  /// Versions that Sweep must look at: draining, failed, or releasing.
  std::set<AdapterVersion> unsettled_;
  StepId completed_step_{0};
  int64_t next_version_ = 1;
  int64_t now_ = 0;
  int32_t reads_in_flight_ = 0;
  uint64_t evictions_ = 0;
  std::map<std::string, uint64_t> loads_by_result_;
};

/// 1 to 128 of letters, digits and `. _ - / @`; no empty or dot-only path part.
Status CheckAdapterName(std::string_view name);

}  // namespace weft::adapter
