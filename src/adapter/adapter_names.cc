// The names half of AdapterCache: which version a name means.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "adapter/adapter_cache.h"
#include "base/check.h"

namespace weft::adapter {
namespace {

constexpr size_t kMaxNameLength = 128;
constexpr size_t kNamesInMessage = 10;

}  // namespace

Status CheckAdapterName(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-/@").find(c) != std::string_view::npos;
  };
  bool good = !name.empty() && name.size() <= kMaxNameLength &&
              std::all_of(name.begin(), name.end(), allowed);
  for (size_t begin = 0; good && begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    good = !part.empty() && part != "." && part != "..";
    begin = end + 1;
  }
  if (good) return OkStatus();
  return MakeError(ErrorCode::kInvalidArgument,
                   "'{}' is not an adapter name; use 1 to {} letters, digits and . _ - / @ (a part "
                   "between slashes may not be empty, . or ..)",
                   name.substr(0, kMaxNameLength), kMaxNameLength);
}

Result<AdapterRecord*> AdapterCache::Register(const std::string& name, const std::string& path,
                                              bool pinned, bool visible) {
  WEFT_RETURN_IF_ERROR(CheckAdapterName(name));
  if (visible && names_.contains(name)) {
    return MakeError(
        ErrorCode::kAlreadyExists,
        "adapter '{}' is loaded already; unload it first, or load it with load_inplace "
        "to replace it",
        name);
  }
  auto record = std::make_unique<AdapterRecord>();
  record->version = AdapterVersion(next_version_++);
  record->name = name;
  record->path = path;
  record->pinned = pinned;
  AdapterRecord* raw = record.get();
  records_.emplace(raw->version, std::move(record));
  if (pinned) Watch(*raw);
  if (visible) {
    names_.emplace(name, raw->version);
    unloaded_names_.erase(name);
  }
  return raw;
}

AdapterRecord* AdapterCache::Publish(AdapterRecord& record) {
  AdapterRecord* old = FindByName(record.name);
  if (old != nullptr) {
    old->Apply(ResidencyEvent::kUnload);
    unsettled_.insert(old->version);
  }
  names_.insert_or_assign(record.name, record.version);
  unloaded_names_.erase(record.name);
  return old;
}

AdapterRecord* AdapterCache::FindByName(std::string_view name) {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : Find(found->second);
}

Result<AdapterRecord*> AdapterCache::Resolve(const std::string& name) {
  AdapterRecord* record = FindByName(name);
  if (record == nullptr) {
    if (!options_.lora_dir.empty() && !unloaded_names_.contains(name)) {
      WEFT_ASSIGN_OR_RETURN(record, Register(name, options_.lora_dir + "/" + name, false, true));
      record->discovered = true;
      return record;
    }
    std::string known;
    size_t shown = 0;
    for (const auto& [other, version] : names_) {
      if (shown++ == kNamesInMessage) {
        known += ", ...";
        break;
      }
      known += (known.empty() ? "" : ", ") + other;
    }
    return MakeError(
        ErrorCode::kNotFound,
        "adapter '{}' is not loaded; load it first (POST /load_lora_adapter), or use one "
        "of: {}",
        name.substr(0, kMaxNameLength), known.empty() ? "(none is loaded)" : known);
  }
  if (record->residency.lifecycle != Lifecycle::kFailed) return record;
  const Duration until_retry = record->failed_at + options_.retry_after - clock_.Now();
  if (until_retry > Duration{}) {
    Error failure = record->failure;
    failure.message +=
        fmt::format("; its files are looked at again in {} s", std::ceil(Seconds(until_retry)));
    return failure;
  }
  // Its files may be other files by now, so it is another version.
  const bool discovered = record->discovered;
  WEFT_ASSIGN_OR_RETURN(AdapterRecord * again,
                        Register(name, record->path, record->pinned, /*visible=*/false));
  again->discovered = discovered;
  Publish(*again);
  return again;
}

bool AdapterCache::Unpublish(AdapterRecord& record) {
  const auto found = names_.find(record.name);
  if (found == names_.end() || found->second != record.version) return false;
  names_.erase(found);
  return true;
}

void AdapterCache::Unload(AdapterRecord& record) {
  if (Unpublish(record)) unloaded_names_.insert(record.name);
  record.Apply(ResidencyEvent::kUnload);
  unsettled_.insert(record.version);
}

}  // namespace weft::adapter
