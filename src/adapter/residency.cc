#include "adapter/residency.h"

#include "base/check.h"

namespace weft::adapter {
namespace {

std::optional<HostTier> NextHost(HostTier tier, ResidencyEvent event) {
  using enum HostTier;
  switch (event) {
    case ResidencyEvent::kStartRead:
      return tier == kAbsent ? std::optional(kReading) : std::nullopt;
    case ResidencyEvent::kReadDone:
      return tier == kReading ? std::optional(kReady) : std::nullopt;
    case ResidencyEvent::kReadFailed:
      return tier == kReading ? std::optional(kAbsent) : std::nullopt;
    case ResidencyEvent::kReleaseHost:
      return tier == kReading || tier == kReady ? std::optional(kReleasing) : std::nullopt;
    case ResidencyEvent::kHostReleased:
      return tier == kReleasing ? std::optional(kAbsent) : std::nullopt;
    default:
      return tier;
  }
}

std::optional<DeviceTier> NextDevice(DeviceTier tier, ResidencyEvent event) {
  using enum DeviceTier;
  switch (event) {
    case ResidencyEvent::kStartCopy:
      return tier == kAbsent ? std::optional(kCopying) : std::nullopt;
    case ResidencyEvent::kCopyDone:
      return tier == kCopying ? std::optional(kReady) : std::nullopt;
    case ResidencyEvent::kReleaseDevice:
      return tier == kCopying || tier == kReady ? std::optional(kReleasing) : std::nullopt;
    case ResidencyEvent::kDeviceReleased:
      return tier == kReleasing ? std::optional(kAbsent) : std::nullopt;
    default:
      return tier;
  }
}

std::optional<Lifecycle> NextLifecycle(Lifecycle lifecycle, ResidencyEvent event) {
  using enum Lifecycle;
  switch (event) {
    case ResidencyEvent::kReadFailed:
      return lifecycle == kActive ? kFailed : lifecycle;
    case ResidencyEvent::kUnload:
      return lifecycle == kActive || lifecycle == kFailed ? std::optional(kDraining) : std::nullopt;
    case ResidencyEvent::kDrained:
      return lifecycle == kDraining ? std::optional(kGone) : std::nullopt;
    case ResidencyEvent::kRetry:
      return lifecycle == kFailed ? std::optional(kActive) : std::nullopt;
    case ResidencyEvent::kStartRead:
    case ResidencyEvent::kStartCopy:
      return lifecycle == kActive || lifecycle == kDraining ? std::optional(lifecycle)
                                                            : std::nullopt;
    default:
      return lifecycle == kGone ? std::nullopt : std::optional(lifecycle);
  }
}

/// What one tier asks of another.
bool TiersAllow(const Residency& state, ResidencyEvent event) {
  switch (event) {
    case ResidencyEvent::kStartCopy:
      return state.host == HostTier::kReady;
    case ResidencyEvent::kHostReleased:
      // The copy reads the image. A release of the device may have interrupted a copy that is still
      // in flight; only its end (kDeviceReleased) says that it is over.
      return state.device != DeviceTier::kCopying && state.device != DeviceTier::kReleasing;
    case ResidencyEvent::kDrained:
      return state.host == HostTier::kAbsent && state.device == DeviceTier::kAbsent;
    default:
      return true;
  }
}

}  // namespace

std::optional<Residency> Next(Residency state, ResidencyEvent event) {
  if (!TiersAllow(state, event)) return std::nullopt;
  const auto host = NextHost(state.host, event);
  const auto device = NextDevice(state.device, event);
  const auto lifecycle = NextLifecycle(state.lifecycle, event);
  if (!host || !device || !lifecycle) return std::nullopt;
  return Residency{*host, *device, *lifecycle};
}

std::string_view Name(HostTier tier) {
  switch (tier) {
    case HostTier::kAbsent:
      return "absent";
    case HostTier::kReading:
      return "reading";
    case HostTier::kReady:
      return "ready";
    case HostTier::kReleasing:
      return "releasing";
  }
  WEFT_CHECK(false);
}

std::string_view Name(DeviceTier tier) {
  switch (tier) {
    case DeviceTier::kAbsent:
      return "absent";
    case DeviceTier::kCopying:
      return "copying";
    case DeviceTier::kReady:
      return "ready";
    case DeviceTier::kReleasing:
      return "releasing";
  }
  WEFT_CHECK(false);
}

std::string_view Name(Lifecycle lifecycle) {
  switch (lifecycle) {
    case Lifecycle::kActive:
      return "active";
    case Lifecycle::kDraining:
      return "draining";
    case Lifecycle::kGone:
      return "gone";
    case Lifecycle::kFailed:
      return "failed";
  }
  WEFT_CHECK(false);
}

std::string_view Name(ResidencyEvent event) {
  constexpr std::string_view kNames[kResidencyEventCount] = {
      "start read",      "read done",  "read failed", "release host",
      "host released",   "start copy", "copy done",   "release device",
      "device released", "unload",     "drained",     "retry"};
  return kNames[static_cast<size_t>(event)];
}

}  // namespace weft::adapter
