#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/loading.h"
#include "adapter/residency.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "ops/lora.h"

namespace weft::adapter {

/// One version of one adapter: where it is and who uses it. Owned by AdapterCache, on the engine's
/// thread.
struct AdapterRecord {
  AdapterVersion version;
  std::string name;
  std::string path;
  bool pinned = false;
  /// Found under --lora-dir when a request named it; forgotten again when its files cannot be
  /// opened.
  bool discovered = false;
  /// An administrator's load waits for the image; it is not dropped for want of requests.
  bool awaited = false;

  Residency residency;
  std::shared_ptr<const OpenedAdapter> opened;  ///< Null before the headers were read.
  std::vector<PageIndex> host_pages;
  std::vector<PageIndex> device_pages;
  std::shared_ptr<const ops::AdapterTable> table;  ///< Set while the device tier is kReady.
  std::shared_ptr<CancelFlag> read_cancelled;
  std::shared_ptr<CancelFlag> copy_cancelled;

  int32_t leases = 0;   ///< Live Lease objects.
  int32_t users = 0;    ///< Requests bound to this version that have not ended.
  int32_t waiting = 0;  ///< Of those, requests that are not running.
  /// The earliest of the waiting ones, as of this turn; far in the future when there is none.
  RequestId first_waiting{std::numeric_limits<int64_t>::max()};
  int64_t last_use = 0;
  int64_t resident_since = 0;
  StepId last_step{0};  ///< The last submitted step that reads its pages.
  Moment wanted_until{};
  /// Its sequences may run, where adapters take turns.
  bool has_turn = false;
  std::optional<Moment> turn_began;  ///< With its first token.
  Error failure;
  Moment failed_at{};

  /// Applies the transition; one that the table does not have is a program error.
  void Apply(ResidencyEvent event);

  void EndTurn() {
    has_turn = false;
    turn_began.reset();
  }
  int32_t image_pages() const { return opened ? opened->layout.pages : 0; }
  /// Whether a waiting request needs the host image for a copy yet to begin.
  bool NeedsImage() const { return waiting > 0 && !ready(); }
  bool ready() const { return residency.device == DeviceTier::kReady; }
  bool idle_on_device() const { return ready() && leases == 0 && !pinned; }
};

/// The right to have an adapter's device pages stay. Movable; ends with its life. Engine thread
/// only.
class Lease {
 public:
  Lease() = default;
  explicit Lease(AdapterRecord& record) : record_(&record) { ++record.leases; }
  Lease(Lease&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      Release();
      record_ = std::exchange(other.record_, nullptr);
    }
    return *this;
  }
  ~Lease() { Release(); }

  explicit operator bool() const { return record_ != nullptr; }
  void Release() {
    if (record_ != nullptr) --record_->leases;
    record_ = nullptr;
  }

 private:
  AdapterRecord* record_ = nullptr;
};

}  // namespace weft::adapter
