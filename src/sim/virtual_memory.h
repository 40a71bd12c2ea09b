#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/loading.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/strong_id.h"

namespace weft::sim {

/// What one token's place in a KV page holds.
struct KvCell {
  uint64_t state = 0;    ///< Of the virtual model after this token.
  uint64_t content = 0;  ///< The adapter's.
  TokenId token = -1;
};

/// What a page of virtual memory holds: written by virtual steps and copies, read by virtual steps,
/// never by the engine.
struct VirtualPage {
  /// Of the adapter file whose image page this is; 0: not part of an image.
  uint64_t content = 0;
  std::shared_ptr<const adapter::OpenedAdapter> image;  ///< Has the layout; null: none.
  int32_t image_page = -1;
  std::vector<KvCell> kv;
};

/// An arena of pages that has addresses but no bytes.
class VirtualArena {
 public:
  VirtualArena(uintptr_t base, int32_t pages, Bytes page_bytes)
      : base_(base), page_bytes_(page_bytes), pages_(static_cast<size_t>(pages)) {}

  std::byte* base() const { return reinterpret_cast<std::byte*>(base_); }
  VirtualPage& At(PageIndex page) { return pages_.at(static_cast<size_t>(page.value())); }
  VirtualPage& At(const std::byte* address) { return At(PageOf(address)); }
  PageIndex PageOf(const std::byte* address) const {
    return PageIndex(static_cast<int32_t>(OffsetOf(address) / page_bytes_));
  }
  /// From the start of its page.
  Bytes OffsetInPage(const std::byte* address) const { return OffsetOf(address) % page_bytes_; }
  int32_t size() const { return static_cast<int32_t>(pages_.size()); }

 private:
  Bytes OffsetOf(const std::byte* address) const {
    const auto offset = static_cast<Bytes>(reinterpret_cast<uintptr_t>(address) - base_);
    WEFT_CHECK(offset >= 0 && offset / page_bytes_ < static_cast<Bytes>(pages_.size()));
    return offset;
  }

  uintptr_t base_;
  Bytes page_bytes_;
  std::vector<VirtualPage> pages_;
};

}  // namespace weft::sim
