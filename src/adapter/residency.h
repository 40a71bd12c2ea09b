#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weft::adapter {

/// The image in host memory.
enum class HostTier : uint8_t { kAbsent, kReading, kReady, kReleasing };
/// The pages on the device.
enum class DeviceTier : uint8_t { kAbsent, kCopying, kReady, kReleasing };
/// Whether new requests may use the version.
enum class Lifecycle : uint8_t { kActive, kDraining, kGone, kFailed };

/// kReleasing: no new leases; waiting for the reader, the copy or the step that still touches the
/// memory (P5). A copy reads the image, so while the device is kCopying or kReleasing the host may
/// be told to release, but kHostReleased comes only after kCopyDone or kDeviceReleased.
struct Residency {
  HostTier host = HostTier::kAbsent;
  DeviceTier device = DeviceTier::kAbsent;
  Lifecycle lifecycle = Lifecycle::kActive;
  bool operator==(const Residency&) const = default;
};

enum class ResidencyEvent : uint8_t {
  kStartRead,       ///< The loader was asked to read the files.
  kReadDone,        ///< The image is complete.
  kReadFailed,      ///< The files could not be read or are wrong.
  kReleaseHost,     ///< The image's memory is wanted, or nobody wants the image any more.
  kHostReleased,    ///< Neither reader nor copy touch the image any more.
  kStartCopy,       ///< The copy thread was asked to copy the image.
  kCopyDone,        ///< All pages are on the device.
  kReleaseDevice,   ///< The pages are wanted, or nobody wants the copy any more.
  kDeviceReleased,  ///< Neither copy nor step touch the pages any more.
  kUnload,          ///< Unloaded or replaced: no new requests.
  kDrained,         ///< The last request has ended and every byte is free.
  kRetry,           ///< A failed version is tried again.
};
inline constexpr int kResidencyEventCount = 12;

/// The one transition table. Nothing: the event cannot happen in that state, and whoever caused it
/// is wrong.
std::optional<Residency> Next(Residency state, ResidencyEvent event);

std::string_view Name(HostTier tier);
std::string_view Name(DeviceTier tier);
std::string_view Name(Lifecycle lifecycle);
std::string_view Name(ResidencyEvent event);

}  // namespace weft::adapter
