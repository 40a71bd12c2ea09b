#include "memory/page_pool.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace weft::memory {

PagePool::PagePool(int32_t page_count)
    : use_(static_cast<size_t>(page_count), PageUse::kFree),
      released_(static_cast<size_t>(page_count), false),
      free_runs_(page_count) {
  for (int32_t page = 1; page < page_count; ++page) free_runs_.Set(page, true);
  used_[static_cast<size_t>(PageUse::kFree)] = page_count - 1;
}

std::optional<std::vector<PageIndex>> PagePool::Allocate(int32_t count, PageUse use) {
  WEFT_CHECK(count >= 0 && use != PageUse::kFree);
  if (count > free()) return std::nullopt;
  std::vector<PageIndex> pages;
  pages.reserve(static_cast<size_t>(count));
  for (int32_t missing = count; missing > 0;) {
    const FreeRuns::Run run =
        use == PageUse::kAdapter ? FindRun(missing) : FreeRuns::Run{free_runs_.Highest(), 1};
    for (int32_t i = 0; i < run.count; ++i) {
      pages.push_back(PageIndex(run.first + i));
      Take(pages.back(), use);
    }
    missing -= run.count;
  }
  std::sort(pages.begin(), pages.end());
  return pages;
}

void PagePool::Release(std::span<const PageIndex> pages, StepId last_step) {
  for (const PageIndex page : pages) {
    const auto index = static_cast<size_t>(page.value());
    WEFT_CHECK(page.value() > 0 && index < use_.size());
    WEFT_CHECK(use_[index] != PageUse::kFree && !released_[index]);
    if (last_step <= completed_) {
      MakeFree(page);
    } else {
      released_[index] = true;
      quarantine_[last_step].push_back(page);
    }
  }
}

void PagePool::StepCompleted(StepId step) {
  WEFT_CHECK(step >= completed_);
  completed_ = step;
  while (!quarantine_.empty() && quarantine_.begin()->first <= step) {
    for (const PageIndex page : quarantine_.begin()->second) {
      released_[static_cast<size_t>(page.value())] = false;
      MakeFree(page);
    }
    quarantine_.erase(quarantine_.begin());
  }
}

void PagePool::Take(PageIndex page, PageUse use) {
  free_runs_.Set(page.value(), false);
  use_[static_cast<size_t>(page.value())] = use;
  --used_[static_cast<size_t>(PageUse::kFree)];
  ++used_[static_cast<size_t>(use)];
}

void PagePool::MakeFree(PageIndex page) {
  PageUse& use = use_[static_cast<size_t>(page.value())];
  --used_[static_cast<size_t>(use)];
  ++used_[static_cast<size_t>(PageUse::kFree)];
  use = PageUse::kFree;
  free_runs_.Set(page.value(), true);
}

FreeRuns::Run PagePool::FindRun(int32_t count) const {
  return free_runs_.LowestRun(std::min(count, free_runs_.longest()));
}

}  // namespace weft::memory
