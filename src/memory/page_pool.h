#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/strong_id.h"

namespace weft::memory {

/// What a page holds.
enum class PageUse : uint8_t { kFree, kKv, kAdapter };

/// The books of one arena of equal pages: which are free and which wait for the device to be done
/// with them. It holds no memory itself. Page 0 is never given out. Owned by the engine's thread;
/// nothing here blocks.
///
/// Promise P5: a released page is given out again only after the step named at its release has
/// completed.
class PagePool {
 public:
  /// `page_count` counts page 0.
  explicit PagePool(int32_t page_count);

  /// `count` pages in ascending order, neighbours where possible, or nothing if fewer are free.
  /// Adapters are served from the low end and KV from the high end, which keeps runs of neighbours
  /// long.
  std::optional<std::vector<PageIndex>> Allocate(int32_t count, PageUse use);

  /// Gives pages back; they become free when `last_step` has completed (at once when it already
  /// has).
  void Release(std::span<const PageIndex> pages, StepId last_step);

  /// Steps complete in order.
  void StepCompleted(StepId step);

  int32_t total() const { return static_cast<int32_t>(use_.size()) - 1; }
  int32_t free() const { return free_; }
  /// Pages in use, those waiting for a step included.
  int32_t used(PageUse use) const { return used_[static_cast<size_t>(use)]; }
  PageUse use(PageIndex page) const { return use_[static_cast<size_t>(page.value())]; }

 private:
  struct Quarantined {
    StepId until;
    PageIndex page;
  };

  void MakeFree(PageIndex page);
  std::vector<PageIndex> FindRun(int32_t count, bool from_low_end) const;

  std::vector<PageUse> use_;
  std::vector<bool> free_page_;
  std::deque<Quarantined> quarantine_;
  std::array<int32_t, 3> used_{};
  int32_t free_ = 0;
  StepId completed_{0};
};

}  // namespace weft::memory
