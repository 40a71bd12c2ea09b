#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "adapter/loading.h"
#include "sim/random.h"
#include "sim/virtual_memory.h"
#include "sim/virtual_time.h"

namespace weft::sim {

enum class FileFault : uint8_t { kNone, kSlow, kShort, kCorrupt, kVanished };

/// An adapter's files as the virtual disk has them now.
struct VirtualFile {
  uint64_t content = 0;
  int32_t rank = 8;
  FileFault fault = FileFault::kNone;
  double bytes_per_image_byte = 1;  ///< Reading takes so many times as long.
};

/// Loading against a virtual disk and a virtual link. Reads and copies move page by page in virtual
/// time, so that a page which changed hands too early is caught holding the wrong thing. Copies use
/// the link one after another, requested ones before prefetches, and change places only between two
/// pages, as the copier's queue has it.
class VirtualIo final : public adapter::AdapterIo {
 public:
  struct Timing {
    Duration open = std::chrono::microseconds(200);
    Duration read_page = std::chrono::microseconds(500);
    Duration copy_page = std::chrono::microseconds(100);
    Duration all_reads_page{};  ///< Of all readers together, a page at the least; 0: no such limit.
    int32_t jitter_percent =
        50;  ///< Every duration is drawn from this much less to this much more.
  };

  VirtualIo(EventQueue& events, const Clock& clock, Random random, Timing timing,
            VirtualArena& host, VirtualArena& device, ModelConfig config, Bytes page_bytes,
            DType dtype = DType::kBFloat16);

  void Open(adapter::OpenJob job) override;
  void Read(adapter::ReadJob job) override;
  void Copy(adapter::CopyJob job) override;
  void Promote(AdapterVersion version) override;
  adapter::LinkUse link_use() const override { return link_use_; }

  std::map<std::string, VirtualFile>& files() { return files_; }
  adapter::AdapterIoReplies replies;
  double copy_failure_probability = 0.0;

 private:
  struct Opened;
  struct Copying {
    adapter::CopyJob job;
    size_t next_page = 0;
    Moment begin;
  };
  Result<std::shared_ptr<const adapter::OpenedAdapter>> OpenNow(const std::string& path);
  Duration ReadTime(const VirtualFile& file);
  void ReadPage(std::shared_ptr<const adapter::ReadJob> job, size_t page, Moment begin);
  void UseLink();
  void LandPage(std::list<Copying>::iterator copy);
  void EndCopy(std::list<Copying>::iterator copy, Status status);
  Duration Jittered(Duration duration);

  EventQueue& events_;
  const Clock& clock_;
  Random random_;
  const Timing timing_;
  VirtualArena& host_;
  VirtualArena& device_;
  const ModelConfig config_;
  const Bytes page_bytes_;
  const DType dtype_;  ///< Of images.
  std::map<std::string, VirtualFile> files_;
  std::list<Copying> copies_;  ///< In the order they were asked for.
  bool link_busy_ = false;
  Moment reads_free_{};  ///< When the limit of all readers lets the next page begin.
  adapter::LinkUse link_use_;
};

}  // namespace weft::sim
