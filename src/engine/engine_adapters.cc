// Administration of adapters, and what the loader and the copier say.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/engine.h"

namespace weft::engine {

void Engine::On(const WantSoonMessage& message) {
  auto resolved = adapters_.Resolve(message.adapter);
  if (!resolved.ok()) return;  // The request that follows is told.
  adapter::AdapterRecord& record = **resolved;
  record.wanted_until = clock_.Now() + options_.prefetch_patience;
  wanted_soon_.insert(record.version);
  adapters_.Watch(record);
}

void Engine::On(LoadAdapterMessage message) {
  const auto& request = message.request;
  if (draining_) {
    message.done(MakeError(ErrorCode::kUnavailable, "the server is shutting down"));
    return;
  }
  if (!request.replace && adapters_.FindByName(request.name) != nullptr) {
    message.done(MakeError(ErrorCode::kAlreadyExists,
                           "adapter '{}' is loaded already; unload it first, or load it with "
                           "load_inplace to replace it",
                           request.name));
    return;
  }
  for (const auto& [version, done] : awaiting_load_) {
    if (adapters_.Find(version)->name == request.name) {
      message.done(MakeError(ErrorCode::kAlreadyExists,
                             "adapter '{}' is being loaded already; wait for that to end",
                             request.name));
      return;
    }
  }
  auto registered =
      adapters_.Register(request.name, request.path, request.pinned, message.register_only);
  if (!registered.ok()) {
    message.done(registered.error());
    return;
  }
  adapter::AdapterRecord& record = **registered;
  if (message.register_only) {
    if (record.pinned) wanted_soon_.insert(record.version);
    message.done(Describe(record));
    return;
  }
  record.awaited = true;
  wanted_soon_.insert(record.version);
  adapters_.Watch(record);
  awaiting_load_.emplace(record.version, std::move(message.done));
}

void Engine::On(UnloadAdapterMessage message) {
  adapter::AdapterRecord* record = adapters_.FindByName(message.name);
  if (record == nullptr) {
    message.done(MakeError(ErrorCode::kNotFound,
                           "adapter '{}' is not loaded, so it cannot be unloaded", message.name));
    return;
  }
  adapters_.Unload(*record);
  wanted_soon_.erase(record->version);
  if (message.when == Service::UnloadReply::kAtOnce) {
    message.done(OkStatus());
  } else {
    awaiting_unload_[record->version].push_back(std::move(message.done));
  }
}

void Engine::On(const ListAdaptersMessage& message) {
  std::vector<AdapterInfo> all;
  for (const adapter::AdapterRecord* record : adapters_.Records()) {
    if (adapters_.FindByName(record->name) == record) all.push_back(Describe(*record));
  }
  message.done(std::move(all));
}

void Engine::On(const FlushPrefixCacheMessage& message) {
  prefix_.DropUnused(std::nullopt);
  message.done(OkStatus());
}

void Engine::On(const adapter::AdapterOpened& message) {
  const adapter::AdapterRecord* record = adapters_.Find(message.version);
  WEFT_CHECK(record != nullptr);
  if (message.opened.ok() && record->pinned) {
    const Status fits = CheckPinned(**message.opened);
    if (!fits.ok()) {
      adapters_.On(adapter::AdapterOpened{message.version, fits.error(), message.took});
      return;
    }
  }
  if (message.opened.ok()) {
    for (const std::string& warning : (*message.opened)->warnings) {
      spdlog::warn("adapter '{}': {}", record->name, warning);
    }
  }
  adapters_.On(message);
}

/// A pinned adapter never gives way, so a request that could run without it must still fit beside
/// it.
Status Engine::CheckPinned(const adapter::OpenedAdapter& opened) const {
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->state == SequenceState::kEnding) continue;
    const int32_t tokens = sequence->prompt_count + sequence->request.max_new_tokens;
    if (CheckFits(tokens, sequence->adapter, opened.layout.pages).ok()) continue;
    return MakeError(ErrorCode::kResourceExhausted,
                     "takes {} pages; pinned, it would leave too few of {} for a request that is "
                     "being served; load it later, pin fewer, or start the server with more "
                     "--kv-memory",
                     opened.layout.pages, pool_.total());
  }
  return OkStatus();
}

void Engine::On(const adapter::AdapterRead& message) {
  const adapter::AdapterRecord* record = adapters_.Find(message.version);
  WEFT_CHECK(record != nullptr);
  if (message.status.ok()) statistics_.Observe("adapter_read_seconds", message.took);
  if (trace_ != nullptr) {
    const Moment now = clock_.Now();
    trace_->Span(Trace::Group::kAdapters, record->name, "read", now - message.took, now);
  }
  adapters_.On(message);
}

void Engine::On(const adapter::AdapterCopied& message) {
  const adapter::AdapterRecord* record = adapters_.Find(message.version);
  WEFT_CHECK(record != nullptr);
  if (message.status.ok()) statistics_.Observe("adapter_copy_seconds", message.took);
  for (auto& [id, sequence] : waiting_) {
    if (sequence->adapter == record) sequence->adapter_ready_at = clock_.Now();
  }
  if (trace_ != nullptr) {
    const Moment now = clock_.Now();
    trace_->Span(Trace::Group::kAdapters, record->name, "copy", now - message.took, now,
                 fmt::format(R"({{"bytes":{}}})", message.bytes));
  }
  adapters_.On(message);
}

void Engine::AdapterHostReady(adapter::AdapterRecord& record) {
  spdlog::debug("adapter '{}' is in host memory: rank {}, {} pages", record.name,
                record.opened->max_rank, record.image_pages());
  if (record.awaited) {
    record.awaited = false;
    auto waiting = awaiting_load_.extract(record.version);
    WEFT_CHECK(!waiting.empty());
    adapters_.Publish(record);
    waiting.mapped()(Describe(record));
  }
  std::vector<Sequence*> refused;
  for (auto& [id, sequence] : waiting_) {
    if (sequence->adapter != &record) continue;
    FitDefault(sequence->request, sequence->prompt_count, &record);
    const int32_t tokens = sequence->prompt_count + sequence->request.max_new_tokens;
    if (!CheckFits(tokens, &record).ok()) refused.push_back(sequence);
  }
  for (Sequence* sequence : refused) {
    Finish(
        *sequence,
        engine::Finish{FinishType::kError,
                       MakeError(ErrorCode::kInvalidArgument,
                                 "the request and adapter '{}' ({} pages) together do not fit the "
                                 "pool of {} pages; ask for fewer tokens, or start the server with "
                                 "more --kv-memory",
                                 record.name, record.image_pages(), pool_.total())});
  }
}

void Engine::AdapterFailed(adapter::AdapterRecord& record, const Error& error) {
  spdlog::warn("{}", error.message);
  if (record.awaited) {
    record.awaited = false;
    auto waiting = awaiting_load_.extract(record.version);
    WEFT_CHECK(!waiting.empty());
    waiting.mapped()(error);
    adapters_.Unload(record);
  }
  std::vector<Sequence*> failed;
  for (auto& [id, sequence] : waiting_) {
    if (sequence->adapter == &record) failed.push_back(sequence);
  }
  for (Sequence* sequence : failed) {
    Finish(*sequence, engine::Finish{FinishType::kError, error});
  }
}

void Engine::AdapterGone(AdapterVersion version) {
  prefix_.DropUnused(version);
  wanted_soon_.erase(version);
  auto waiting = awaiting_unload_.extract(version);
  if (waiting.empty()) return;
  for (auto& done : waiting.mapped()) done(OkStatus());
}

AdapterInfo Engine::Describe(const adapter::AdapterRecord& record) const {
  AdapterInfo info;
  info.name = record.name;
  info.path = record.path;
  info.version = record.version;
  info.pinned = record.pinned;
  info.host_tier = Name(record.residency.host);
  info.device_tier = Name(record.residency.device);
  info.lifecycle = Name(record.residency.lifecycle);
  if (record.residency.lifecycle == adapter::Lifecycle::kFailed)
    info.failure = record.failure.message;
  info.rank = record.opened ? record.opened->max_rank : 0;
  info.pages = record.image_pages();
  info.waiting = record.waiting;
  info.running = record.users - record.waiting;
  return info;
}

}  // namespace weft::engine
