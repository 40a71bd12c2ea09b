#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adapter/image_layout.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/strong_id.h"

namespace weft::adapter {

/// What the loader learnt from an adapter's headers. Immutable; shared between the engine and the
/// loader.
struct OpenedAdapter {
  std::string path;
  ImageLayout layout;
  int32_t max_rank = 0;
  std::vector<std::string> warnings;
  /// The loader's own: parsed files, kept for the read. Opaque to everybody else.
  std::shared_ptr<const void> files;
};

/// Set by the engine when nobody waits for a job any more; the loader looks at it between two
/// pieces of work.
using CancelFlag = std::atomic<bool>;

struct OpenJob {
  AdapterVersion version;
  std::string path;
  /// Not empty: with links resolved, the path must lie under this folder.
  std::string root;
};

/// Reads, converts and packs into `pages` (host memory, page_bytes each, layout's order), layer by
/// layer.
struct ReadJob {
  AdapterVersion version;
  std::shared_ptr<const OpenedAdapter> opened;
  std::vector<std::byte*> pages;
  std::shared_ptr<CancelFlag> cancelled;
};

enum class CopyUrgency : uint8_t { kPrefetch, kRequested };

/// Copies `host[i]` to `device[i]`, page_bytes each.
struct CopyJob {
  AdapterVersion version;
  std::vector<const std::byte*> host;
  std::vector<std::byte*> device;
  CopyUrgency urgency = CopyUrgency::kRequested;
  std::shared_ptr<CancelFlag> cancelled;
};

struct AdapterOpened {
  AdapterVersion version;
  Result<std::shared_ptr<const OpenedAdapter>> opened;
  Duration took{};
};
/// kCancelled when the flag was seen. Either way the loader no longer touches the pages.
struct AdapterRead {
  AdapterVersion version;
  Status status;
  Duration took{};
};
/// kCancelled when the flag was seen before the last page. Either way no copy touches the pages any
/// more.
struct AdapterCopied {
  AdapterVersion version;
  Status status;
  Bytes bytes = 0;
  Duration took{};  ///< From the first page's start to the last page's end.
};

/// What the link to the device did since the start. Copies under way count as far as they have
/// come.
struct LinkUse {
  Duration busy{};  ///< Time in which it had something to copy.
  Bytes bytes = 0;
};

/// Where loading is done, so that the engine never waits and simulation can own it. Called on the
/// engine's thread; returns at once. Every job is answered by exactly one message, from any thread,
/// through `AdapterIoReplies`.
class AdapterIo {
 public:
  virtual ~AdapterIo() = default;
  virtual void Open(OpenJob job) = 0;
  virtual void Read(ReadJob job) = 0;
  virtual void Copy(CopyJob job) = 0;
  /// A queued copy becomes urgent because a request waits for it now.
  virtual void Promote(AdapterVersion version) = 0;
  virtual LinkUse link_use() const = 0;
};

struct AdapterIoReplies {
  std::function<void(AdapterOpened)> opened;
  std::function<void(AdapterRead)> read;
  std::function<void(AdapterCopied)> copied;
};

}  // namespace weft::adapter
