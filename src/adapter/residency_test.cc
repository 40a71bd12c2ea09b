#include "adapter/residency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace weft::adapter {
namespace {

struct Less {
  bool operator()(const Residency& x, const Residency& y) const {
    return std::tuple(x.lifecycle, x.host, x.device) < std::tuple(y.lifecycle, y.host, y.device);
  }
};
using States = std::set<Residency, Less>;

std::vector<Residency> AllStates() {
  std::vector<Residency> states;
  for (int lifecycle = 0; lifecycle < 4; ++lifecycle) {
    for (int host = 0; host < 4; ++host) {
      for (int device = 0; device < 4; ++device) {
        states.push_back(Residency{static_cast<HostTier>(host), static_cast<DeviceTier>(device),
                                   static_cast<Lifecycle>(lifecycle)});
      }
    }
  }
  return states;
}

std::vector<ResidencyEvent> AllEvents() {
  std::vector<ResidencyEvent> events;
  for (int i = 0; i < kResidencyEventCount; ++i) events.push_back(static_cast<ResidencyEvent>(i));
  return events;
}

States ReachableFrom(Residency start) {
  States seen = {start};
  std::deque<Residency> open = {start};
  while (!open.empty()) {
    const Residency state = open.front();
    open.pop_front();
    for (const ResidencyEvent event : AllEvents()) {
      const auto next = Next(state, event);
      if (next && seen.insert(*next).second) open.push_back(*next);
    }
  }
  return seen;
}

std::string Describe(const Residency& state) {
  return std::string(Name(state.lifecycle)) + " host=" + std::string(Name(state.host)) +
         " device=" + std::string(Name(state.device));
}

bool Allowed(const Residency& state, ResidencyEvent event) {
  return Next(state, event).has_value();
}

const States& Reachable() {
  static const States states = ReachableFrom(Residency{});
  return states;
}

TEST(Residency, WhatCannotBeTrueIsNeverReached) {
  for (const Residency& state : Reachable()) {
    SCOPED_TRACE(Describe(state));
    // A copy reads a whole image, which stays until the copy has ended.
    if (state.device == DeviceTier::kCopying) {
      EXPECT_TRUE(state.host == HostTier::kReady || state.host == HostTier::kReleasing);
    }
    if (state.lifecycle == Lifecycle::kGone) {
      EXPECT_EQ(state.host, HostTier::kAbsent);
      EXPECT_EQ(state.device, DeviceTier::kAbsent);
    }
    // A failed version holds no image and reads nothing until it is tried again.
    if (state.lifecycle == Lifecycle::kFailed) {
      EXPECT_EQ(state.host, HostTier::kAbsent);
      EXPECT_NE(state.device, DeviceTier::kCopying);
    }
  }
}

TEST(Residency, WhatTheLoaderAndTheDeviceReportIsAlwaysExpected) {
  for (const Residency& state : Reachable()) {
    SCOPED_TRACE(Describe(state));
    const bool reading = state.host == HostTier::kReading;
    EXPECT_EQ(Allowed(state, ResidencyEvent::kReadDone), reading);
    EXPECT_EQ(Allowed(state, ResidencyEvent::kReadFailed), reading);
    EXPECT_EQ(Allowed(state, ResidencyEvent::kCopyDone), state.device == DeviceTier::kCopying);
    EXPECT_EQ(Allowed(state, ResidencyEvent::kDeviceReleased),
              state.device == DeviceTier::kReleasing);
  }
}

TEST(Residency, AnImageOutlivesTheCopyThatReadsIt) {
  const Residency copying{HostTier::kReady, DeviceTier::kCopying, Lifecycle::kActive};
  const auto wanted = Next(copying, ResidencyEvent::kReleaseHost);
  ASSERT_TRUE(wanted);
  EXPECT_FALSE(Allowed(*wanted, ResidencyEvent::kHostReleased));
  EXPECT_TRUE(Allowed(*Next(*wanted, ResidencyEvent::kCopyDone), ResidencyEvent::kHostReleased));
  // The same when the copy is called off: it is still in flight until the device says otherwise.
  const auto called_off = Next(*wanted, ResidencyEvent::kReleaseDevice);
  ASSERT_TRUE(called_off);
  EXPECT_FALSE(Allowed(*called_off, ResidencyEvent::kHostReleased));
  const auto ended = Next(*called_off, ResidencyEvent::kDeviceReleased);
  ASSERT_TRUE(ended);
  EXPECT_TRUE(Allowed(*ended, ResidencyEvent::kHostReleased));
}

TEST(Residency, NothingStartsOnMemoryThatIsBeingGivenUp) {
  for (const Residency& state : Reachable()) {
    SCOPED_TRACE(Describe(state));
    const bool may_copy = state.host == HostTier::kReady && state.device == DeviceTier::kAbsent;
    const bool may_read = state.host == HostTier::kAbsent;
    EXPECT_TRUE(may_copy || !Allowed(state, ResidencyEvent::kStartCopy));
    EXPECT_TRUE(may_read || !Allowed(state, ResidencyEvent::kStartRead));
  }
}

TEST(Residency, NothingHappensToWhatIsGone) {
  for (const Residency& state : Reachable()) {
    if (state.lifecycle != Lifecycle::kGone) continue;
    for (const ResidencyEvent event : AllEvents())
      EXPECT_FALSE(Allowed(state, event)) << Name(event);
  }
}

TEST(Residency, EveryStateCanStillEnd) {
  const Residency gone{HostTier::kAbsent, DeviceTier::kAbsent, Lifecycle::kGone};
  for (const Residency& state : Reachable()) {
    EXPECT_TRUE(ReachableFrom(state).contains(gone)) << Describe(state);
  }
}

TEST(Residency, MemoryInMotionComesToRestByItself) {
  // Only what the loader, the copy and the steps report; no decision of the engine.
  constexpr std::array kReports = {ResidencyEvent::kReadDone, ResidencyEvent::kHostReleased,
                                   ResidencyEvent::kCopyDone, ResidencyEvent::kDeviceReleased};
  for (const Residency& state : Reachable()) {
    Residency now = state;
    for (bool moved = true; moved;) {
      moved = false;
      for (const ResidencyEvent event : kReports) {
        if (const auto next = Next(now, event)) {
          now = *next;
          moved = true;
        }
      }
    }
    EXPECT_TRUE(now.host == HostTier::kAbsent || now.host == HostTier::kReady) << Describe(state);
    EXPECT_TRUE(now.device == DeviceTier::kAbsent || now.device == DeviceTier::kReady)
        << Describe(state);
  }
}

TEST(Residency, FailsAndIsTriedAgain) {
  Residency state{HostTier::kReading, DeviceTier::kAbsent, Lifecycle::kActive};
  state = *Next(state, ResidencyEvent::kReadFailed);
  EXPECT_EQ(state, (Residency{HostTier::kAbsent, DeviceTier::kAbsent, Lifecycle::kFailed}));
  EXPECT_FALSE(Allowed(state, ResidencyEvent::kStartRead));
  state = *Next(state, ResidencyEvent::kRetry);
  EXPECT_TRUE(Allowed(state, ResidencyEvent::kStartRead));
}

/// One line for each reachable state, one for each event that may happen in it.
std::string PrintTable() {
  std::string text;
  for (const Residency& state : Reachable()) {
    text += Describe(state) + "\n";
    for (const ResidencyEvent event : AllEvents()) {
      const auto next = Next(state, event);
      if (!next) continue;
      text += "  " + std::string(Name(event)) + " ->";
      if (next->lifecycle != state.lifecycle) text += " " + std::string(Name(next->lifecycle));
      if (next->host != state.host) text += " host=" + std::string(Name(next->host));
      if (next->device != state.device) text += " device=" + std::string(Name(next->device));
      text += "\n";
    }
  }
  return text;
}

constexpr std::string_view kTable = R"(
active host=absent device=absent
  start read -> host=reading
  unload -> draining
active host=absent device=ready
  start read -> host=reading
  release device -> device=releasing
  unload -> draining
active host=absent device=releasing
  start read -> host=reading
  device released -> device=absent
  unload -> draining
active host=reading device=absent
  read done -> host=ready
  read failed -> failed host=absent
  release host -> host=releasing
  unload -> draining
active host=reading device=ready
  read done -> host=ready
  read failed -> failed host=absent
  release host -> host=releasing
  release device -> device=releasing
  unload -> draining
active host=reading device=releasing
  read done -> host=ready
  read failed -> failed host=absent
  release host -> host=releasing
  device released -> device=absent
  unload -> draining
active host=ready device=absent
  release host -> host=releasing
  start copy -> device=copying
  unload -> draining
active host=ready device=copying
  release host -> host=releasing
  copy done -> device=ready
  release device -> device=releasing
  unload -> draining
active host=ready device=ready
  release host -> host=releasing
  release device -> device=releasing
  unload -> draining
active host=ready device=releasing
  release host -> host=releasing
  device released -> device=absent
  unload -> draining
active host=releasing device=absent
  host released -> host=absent
  unload -> draining
active host=releasing device=copying
  copy done -> device=ready
  release device -> device=releasing
  unload -> draining
active host=releasing device=ready
  host released -> host=absent
  release device -> device=releasing
  unload -> draining
active host=releasing device=releasing
  device released -> device=absent
  unload -> draining
draining host=absent device=absent
  start read -> host=reading
  drained -> gone
draining host=absent device=ready
  start read -> host=reading
  release device -> device=releasing
draining host=absent device=releasing
  start read -> host=reading
  device released -> device=absent
draining host=reading device=absent
  read done -> host=ready
  read failed -> host=absent
  release host -> host=releasing
draining host=reading device=ready
  read done -> host=ready
  read failed -> host=absent
  release host -> host=releasing
  release device -> device=releasing
draining host=reading device=releasing
  read done -> host=ready
  read failed -> host=absent
  release host -> host=releasing
  device released -> device=absent
draining host=ready device=absent
  release host -> host=releasing
  start copy -> device=copying
draining host=ready device=copying
  release host -> host=releasing
  copy done -> device=ready
  release device -> device=releasing
draining host=ready device=ready
  release host -> host=releasing
  release device -> device=releasing
draining host=ready device=releasing
  release host -> host=releasing
  device released -> device=absent
draining host=releasing device=absent
  host released -> host=absent
draining host=releasing device=copying
  copy done -> device=ready
  release device -> device=releasing
draining host=releasing device=ready
  host released -> host=absent
  release device -> device=releasing
draining host=releasing device=releasing
  device released -> device=absent
gone host=absent device=absent
failed host=absent device=absent
  unload -> draining
  retry -> active
failed host=absent device=ready
  release device -> device=releasing
  unload -> draining
  retry -> active
failed host=absent device=releasing
  device released -> device=absent
  unload -> draining
  retry -> active
)";

TEST(Residency, Table) { EXPECT_EQ("\n" + PrintTable(), kTable); }

TEST(Residency, EverythingElseIsRefused) {
  int allowed = 0;
  for (const Residency& state : AllStates()) {
    for (const ResidencyEvent event : AllEvents()) {
      const auto next = Next(state, event);
      if (!next) continue;
      if (Reachable().contains(state)) ++allowed;
      // An event that changes nothing would hide a mistake of whoever caused it.
      EXPECT_NE(*next, state) << Describe(state) << ": " << Name(event);
    }
  }
  const std::string table = PrintTable();
  EXPECT_EQ(allowed, static_cast<int>(std::ranges::count(table, '>')));
}

}  // namespace
}  // namespace weft::adapter
