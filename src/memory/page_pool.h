#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/strong_id.h"
#include "memory/free_runs.h"

namespace weft::memory {

/// What a page holds.
enum class PageUse : uint8_t { kFree, kKv, kAdapter };

/// The books of one arena of equal pages: which are free and which wait for the device to be done
/// with them. It holds no memory itself. Page 0 is never given out. Owned by the engine's thread;
/// nothing here blocks.
///
/// Promise P5: a released page is given out again only after the step named at its release has
/// completed. Costs O(log page_count) a page, whatever is free.
class PagePool {
 public:
  /// `page_count` counts page 0.
  explicit PagePool(int32_t page_count);

  /// `count` pages in ascending order, or nothing if fewer are free. An adapter gets neighbours
  /// (the lowest run that is long enough, else as few runs as can be), because neighbours are
  /// copied at once; KV gets the highest free pages, which keeps the runs at the low end long.
  std::optional<std::vector<PageIndex>> Allocate(int32_t count, PageUse use);

  /// Gives pages back; they become free when `last_step` has completed (at once when it already
  /// has).
  void Release(std::span<const PageIndex> pages, StepId last_step);

  /// Steps complete in order.
  void StepCompleted(StepId step);

  int32_t total() const { return static_cast<int32_t>(use_.size()) - 1; }
  int32_t free() const { return used_[static_cast<size_t>(PageUse::kFree)]; }
  /// Pages in use, those waiting for a step included.
  int32_t used(PageUse use) const { return used_[static_cast<size_t>(use)]; }
  PageUse use(PageIndex page) const { return use_[static_cast<size_t>(page.value())]; }

 private:
  void Take(PageIndex page, PageUse use);
  void MakeFree(PageIndex page);
  /// At most `count` neighbours: the lowest run of so many, else the longest there is.
  FreeRuns::Run FindRun(int32_t count) const;

  std::vector<PageUse> use_;
  std::vector<bool> released_;  ///< Waiting for a step.
  FreeRuns free_runs_;
  std::map<StepId, std::vector<PageIndex>> quarantine_;  ///< By the step they wait for.
  std::array<int32_t, 3> used_{};
  StepId completed_{0};
};

}  // namespace weft::memory
