#include "sim/virtual_io.h"

#include <algorithm>
#include <utility>

namespace weft::sim {

struct VirtualIo::Opened {
  uint64_t content = 0;
};

VirtualIo::VirtualIo(EventQueue& events, const Clock& clock, Random random, Timing timing,
                     VirtualArena& host, VirtualArena& device, ModelConfig config, Bytes page_bytes)
    : events_(events),
      clock_(clock),
      random_(random),
      timing_(timing),
      host_(host),
      device_(device),
      config_(std::move(config)),
      page_bytes_(page_bytes) {}

Duration VirtualIo::Jittered(Duration duration) {
  return duration * random_.Between(50, 150) / 100;
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
  WEFT_ASSIGN_OR_RETURN(auto layout,
                        adapter::PackImage(std::move(modules), DType::kBFloat16, page_bytes_));
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

void VirtualIo::ReadPage(std::shared_ptr<const adapter::ReadJob> job, size_t page, Moment begin) {
  const VirtualFile& file = files_[job->opened->path];
  const Duration delay = Jittered(timing_.read_page) * (file.fault == FileFault::kSlow ? 50 : 1);
  events_.After(delay, [this, job = std::move(job), page, begin] {
    const Duration took = clock_.Now() - begin;
    const VirtualFile& now = files_[job->opened->path];
    const uint64_t content = std::static_pointer_cast<const Opened>(job->opened->files)->content;
    if (job->cancelled->load()) {
      replies.read({job->version, MakeError(ErrorCode::kCancelled, "no longer wanted"), took});
    } else if (now.content != content || now.fault == FileFault::kShort ||
               now.fault == FileFault::kVanished || now.fault == FileFault::kCorrupt) {
      replies.read({job->version,
                    MakeError(ErrorCode::kIo, "'{}' changed while loading", job->opened->path),
                    took});
    } else {
      VirtualPage& into = host_.At(job->pages[page]);
      into.content = content;
      into.image_page = static_cast<int32_t>(page);
      if (page + 1 == job->pages.size()) {
        replies.read({job->version, OkStatus(), took});
      } else {
        ReadPage(job, page + 1, begin);
      }
    }
  });
}

void VirtualIo::Copy(adapter::CopyJob job) {
  CopyPage(std::make_shared<const adapter::CopyJob>(std::move(job)), 0, clock_.Now());
}

void VirtualIo::CopyPage(std::shared_ptr<const adapter::CopyJob> job, size_t page, Moment begin) {
  link_free_ = std::max(link_free_, clock_.Now()) + Jittered(timing_.copy_page);
  events_.After(link_free_ - clock_.Now(), [this, job = std::move(job), page, begin] {
    const Duration took = clock_.Now() - begin;
    const auto copied = static_cast<Bytes>(page) * page_bytes_;
    if (job->cancelled->load()) {
      replies.copied(
          {job->version, MakeError(ErrorCode::kCancelled, "no longer wanted"), copied, took});
      return;
    }
    if (random_.Chance(copy_failure_probability)) {
      replies.copied(
          {job->version, MakeError(ErrorCode::kInternal, "the link failed"), copied, took});
      return;
    }
    const VirtualPage& from = host_.At(job->host[page]);
    VirtualPage& into = device_.At(job->device[page]);
    into.content = from.content;
    into.image_page = from.image_page;
    into.kv.clear();
    if (page + 1 == job->host.size()) {
      replies.copied({job->version, OkStatus(), copied + page_bytes_, took});
    } else {
      CopyPage(job, page + 1, begin);
    }
  });
}

}  // namespace weft::sim
