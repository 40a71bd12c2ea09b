#include "engine/turns.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/places.h"

namespace weft::engine {

using adapter::DeviceTier;
using adapter::HostTier;

namespace {

constexpr double kKeepTurn = 2.0;
/// Where the image would have to be read from files again.
constexpr double kKeepUnread = 16.0;
constexpr int kEarly = 8;  ///< A turn may begin after this part of the patience.

enum Group : int32_t {
  kBegins,
  kPassedOften,
  kStandsLong,
  kByCompletions,
  kByArrival,
  kCannotStart
};

bool OnDevice(const AdapterView& adapter) {
  return adapter.device == DeviceTier::kReady || adapter.device == DeviceTier::kCopying;
}
/// Pages that others cannot have while the adapter has its turn. A pinned one's they never can.
int32_t PagesToTake(const AdapterView& adapter) {
  return adapter.pinned && OnDevice(adapter) ? 0 : adapter.pages;
}

}  // namespace

Turns::Turns(const Snapshot& snapshot, const SchedulerLimits& limits)
    : snapshot_(snapshot), limits_(limits) {
  spare_pages_ = snapshot.free_pages + snapshot.evictable_prefix_pages;
  for (const SequenceView& sequence : snapshot.running) Add(sequence, true);
  for (const SequenceView& sequence : snapshot.waiting) Add(sequence, false);
  for (const AdapterView& view : snapshot.adapters) {
    const auto found = wanted_.find(view.version);
    if (found != wanted_.end()) found->second.view = &view;
    if (OnDevice(view) && view.leases == 0 && !view.pinned) spare_pages_ += view.pages;
  }
  HandOut();
}

void Turns::Add(const SequenceView& sequence, bool runs) {
  if (sequence.adapter == kBaseModel) {
    base_running_ += runs ? 1 : 0;
    return;
  }
  const auto [found, is_first] = wanted_.try_emplace(sequence.adapter);
  Wanted& wanted = found->second;
  if (is_first || sequence.id < wanted.first) wanted.first = sequence.id;
  wanted.completions += 1.0 / std::max(1, StepsToEnd(sequence, limits_));
  if (runs) {
    ++wanted.running;
    return;
  }
  // One that paused was passed before it started. That counts only if nothing runs: for those
  // behind it, its KV would have to go.
  const bool passed_often = sequence.overtaken >= limits_.max_overtakes &&
                            (!sequence.paused || snapshot_.running.empty());
  if (passed_often && !wanted.passed_often) wanted.passed_often = sequence.id;
  if (sequence.paused && !passed_often) spare_pages_ += sequence.pages;
  if (sequence.paused || !nobody_passes_) {
    const int32_t lacks = PagesToStart(sequence, limits_);
    wanted.pages_to_start = std::min(wanted.pages_to_start.value_or(lacks), lacks);
  }
  if (passed_often && !sequence.paused && !nobody_passes_) nobody_passes_ = sequence.id;
  wanted.stood = std::max(wanted.stood, sequence.stood);
}

Turns::Rank Turns::RankOf(const Wanted& wanted) const {
  const AdapterView& view = *wanted.view;
  if (!wanted.runs() && !wanted.pages_to_start) return {kCannotStart, 0, wanted.first};
  const bool holds = wanted.runs() || view.has_turn;
  const bool may_run = wanted.runs() || view.device == DeviceTier::kCopying ||
                       *wanted.pages_to_start <= spare_pages_;
  const bool unread = view.host != HostTier::kReady;
  // What its files hold now may be another adapter.
  if (wanted.runs() && unread && view.draining) return {kBegins, 0, wanted.first};
  const bool begins =
      view.has_turn && view.leases > 0 && (!view.turn_time || *view.turn_time < limits_.turn_slice);
  if (begins && may_run) return {kBegins, 0, wanted.first};
  if (wanted.passed_often) return {kPassedOften, 0, *wanted.passed_often};
  const bool got_nothing = !wanted.runs() && !view.turn_time;
  if ((!holds || got_nothing) && wanted.stood >= limits_.turn_patience)
    return {kStandsLong, -Seconds(wanted.stood), wanted.first};
  if (!holds && wanted.stood < limits_.turn_patience / kEarly) return {kByArrival, 0, wanted.first};
  const double keep = holds ? (unread ? kKeepUnread : kKeepTurn) : 1.0;
  return {kByCompletions, -wanted.completions * keep, wanted.first};
}

Turns::Room Turns::RoomForAll() const {
  Room room;
  room.places = limits_.max_adapters_per_step;
  room.sequences = limits_.max_running - base_running_;
  room.memory_pages = limits_.adapter_page_limit == 0 ? std::numeric_limits<int32_t>::max()
                                                      : limits_.adapter_page_limit;
  room.pool_pages = snapshot_.free_pages + snapshot_.evictable_prefix_pages;
  for (const AdapterView& view : snapshot_.adapters) {
    if (!OnDevice(view)) continue;
    if (view.pinned)
      room.memory_pages -= view.pages;
    else
      room.pool_pages += view.pages;
  }
  return room;
}

void Turns::HandOut() {
  std::vector<std::pair<Rank, const Wanted*>> line;
  for (const auto& [version, wanted] : wanted_) {
    if (wanted.runs() || CanTakePlace(*wanted.view)) line.emplace_back(RankOf(wanted), &wanted);
  }
  std::sort(line.begin(), line.end());
  Room room = RoomForAll();
  const auto running = static_cast<int32_t>(snapshot_.running.size());
  int32_t promised_pages = 0;  // Of KV, to those that start.
  bool long_one_lacks_room = false;
  const auto consider = [&](const Rank& rank, const Wanted& wanted) {
    if (room.places == 0) return;
    const int32_t image = PagesToTake(*wanted.view);
    const int32_t to_start = wanted.runs() ? 0 : wanted.pages_to_start.value_or(0);
    // Every running sequence may want one more page soon.
    const int32_t kv = wanted.runs() ? 0 : running + promised_pages + to_start;
    const bool fits = image <= room.memory_pages && image + kv <= room.pool_pages;
    if (wanted.runs()) {
      if (!fits) return;
    } else if (running > 0 || !holders_.empty()) {
      // What comes free is for who stands still for long, not for who comes behind; but who needs
      // next to nothing, because it paused, may go on.
      if (!fits || (long_one_lacks_room && to_start > 1)) {
        long_one_lacks_room |= rank.group == kPassedOften || rank.group == kStandsLong;
        return;
      }
    }
    holders_.insert(wanted.view->version);
    --room.places;
    room.memory_pages -= image;
    room.pool_pages -= image;
    room.sequences -= std::max(1, wanted.running);
    promised_pages += to_start;
  };
  // Where no more sequences may run, nobody pauses for one that could not start; what is left over
  // brings its image in meanwhile. A turn that has begun stays, or its copy would be in vain.
  std::vector<std::pair<Rank, const Wanted*>> left_over;
  for (const auto& [rank, wanted] : line) {
    if (wanted->runs() || room.sequences > 0 || rank.group == kBegins)
      consider(rank, *wanted);
    else
      left_over.emplace_back(rank, wanted);
  }
  for (const auto& [rank, wanted] : left_over) consider(rank, *wanted);
}

}  // namespace weft::engine
