#include "sim/virtual_io.h"

#include <algorithm>
#include <utility>

namespace weft::sim {

struct VirtualIo::Opened {
  uint64_t content = 0;
};

VirtualIo::VirtualIo(EventQueue& events, const Clock& clock, Random random, Timing timing,
                     VirtualArena& host, VirtualArena& device, ModelConfig config, Bytes page_bytes,
                     DType dtype)
    : events_(events),
      clock_(clock),
      random_(random),
      timing_(timing),
      host_(host),
      device_(device),
      config_(std::move(config)),
      page_bytes_(page_bytes),
      dtype_(dtype) {}

Duration VirtualIo::Jittered(Duration duration) {
  return duration * random_.Between(100 - timing_.jitter_percent, 100 + timing_.jitter_percent) /
         100;
}

void VirtualIo::Open(adapter::OpenJob job) {
  events_.After(Jittered(timing_.open), [this, job = std::move(job)] {
    replies.opened({job.version, OpenNow(job.path), timing_.open});
  });
}

Result<std::shared_ptr<const adapter::OpenedAdapter>> VirtualIo::OpenNow(const std::string& path) {
  const auto found = files_.find(path);
  if (found == files_.end() || found->second.fault == FileFault::kVanished) {
    return MakeError(ErrorCode::kNotFound, "'{}' is not there", path);
  }
  if (found->second.fault == FileFault::kCorrupt) {
    return MakeError(ErrorCode::kInvalidArgument, "'{}' is corrupt", path);
  }
  std::vector<adapter::ModuleShape> modules;
  for (int32_t layer = 0; layer < config_.layers; ++layer) {
    for (const Projection projection : kAllProjections) {
      modules.push_back({LayerIndex(layer), projection, found->second.rank,
                         config_.InputSize(projection), config_.OutputSize(projection), 1.0F});
    }
  }
  WEFT_ASSIGN_OR_RETURN(auto layout, adapter::PackImage(std::move(modules), dtype_, page_bytes_));
  auto opened = std::make_shared<adapter::OpenedAdapter>();
  opened->path = path;
  opened->layout = std::move(layout);
  opened->max_rank = found->second.rank;
  opened->files = std::make_shared<Opened>(Opened{found->second.content});
  return std::shared_ptr<const adapter::OpenedAdapter>(std::move(opened));
}

void VirtualIo::Read(adapter::ReadJob job) {
  ReadPage(std::make_shared<const adapter::ReadJob>(std::move(job)), 0, clock_.Now());
}

/// Of one page of its image.
Duration VirtualIo::ReadTime(const VirtualFile& file) {
  const double times = file.bytes_per_image_byte * (file.fault == FileFault::kSlow ? 50 : 1);
  const auto of = [times](Duration page) {
    return Duration(static_cast<int64_t>(static_cast<double>(page.count()) * times));
  };
  const Duration alone = of(Jittered(timing_.read_page));
  if (timing_.all_reads_page == Duration{}) return alone;
  reads_free_ = std::max(reads_free_, clock_.Now()) + of(timing_.all_reads_page);
  return std::max(alone, reads_free_ - clock_.Now());
}

/// A cancelled read ends before its next page; the page under way still lands.
void VirtualIo::ReadPage(std::shared_ptr<const adapter::ReadJob> job, size_t page, Moment begin) {
  if (job->cancelled->load()) {
    events_.After(Duration{}, [this, job, begin] {
      replies.read({job->version, MakeError(ErrorCode::kCancelled, "no longer wanted"),
                    clock_.Now() - begin});
    });
    return;
  }
  const VirtualFile& file = files_[job->opened->path];
  const Duration delay = ReadTime(file);
  events_.After(delay, [this, job, page, begin] {
    const Duration took = clock_.Now() - begin;
    const VirtualFile& now = files_[job->opened->path];
    const uint64_t content = std::static_pointer_cast<const Opened>(job->opened->files)->content;
    if (now.content != content || now.fault == FileFault::kShort ||
        now.fault == FileFault::kVanished || now.fault == FileFault::kCorrupt) {
      replies.read({job->version,
                    MakeError(ErrorCode::kIo, "'{}' changed while loading", job->opened->path),
                    took});
      return;
    }
    VirtualPage& into = host_.At(job->pages[page]);
    into.content = content;
    into.image = job->opened;
    into.image_page = static_cast<int32_t>(page);
    if (page + 1 == job->pages.size()) {
      replies.read({job->version, OkStatus(), took});
    } else {
      ReadPage(job, page + 1, begin);
    }
  });
}

void VirtualIo::Copy(adapter::CopyJob job) {
  copies_.push_back({std::move(job), 0, clock_.Now()});
  UseLink();
}

void VirtualIo::Promote(AdapterVersion version) {
  for (Copying& copy : copies_) {
    if (copy.job.version == version) copy.job.urgency = adapter::CopyUrgency::kRequested;
  }
}

/// Puts the next page on the link: of the copy asked for first, requested ones before prefetches.
void VirtualIo::UseLink() {
  if (link_busy_ || copies_.empty()) return;
  auto next = std::find_if(copies_.begin(), copies_.end(), [](const Copying& copy) {
    return copy.job.urgency == adapter::CopyUrgency::kRequested;
  });
  if (next == copies_.end()) next = copies_.begin();
  link_busy_ = true;
  const bool cancelled = next->job.cancelled->load();
  const Duration takes = cancelled ? Duration{} : Jittered(timing_.copy_page);
  events_.After(takes, [this, next, cancelled, takes] {
    link_busy_ = false;
    link_use_.busy += takes;
    if (cancelled) {
      EndCopy(next, MakeError(ErrorCode::kCancelled, "no longer wanted"));
    } else {
      LandPage(next);
    }
    UseLink();
  });
}

/// A page that is on the link lands, whether it is still wanted or not.
void VirtualIo::LandPage(std::list<Copying>::iterator copy) {
  if (random_.Chance(copy_failure_probability)) {
    EndCopy(copy, MakeError(ErrorCode::kInternal, "the link failed"));
    return;
  }
  const VirtualPage& from = host_.At(copy->job.host[copy->next_page]);
  VirtualPage& into = device_.At(copy->job.device[copy->next_page]);
  into.content = from.content;
  into.image = from.image;
  into.image_page = from.image_page;
  into.kv.clear();
  link_use_.bytes += page_bytes_;
  if (++copy->next_page == copy->job.host.size()) EndCopy(copy, OkStatus());
}

void VirtualIo::EndCopy(std::list<Copying>::iterator copy, Status status) {
  const Copying ended = std::move(*copy);
  copies_.erase(copy);
  replies.copied({ended.job.version, std::move(status),
                  static_cast<Bytes>(ended.next_page) * page_bytes_, clock_.Now() - ended.begin});
}

}  // namespace weft::sim
