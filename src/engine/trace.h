#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace weft::engine {

/// Spans for Perfetto (Chrome's trace event format): a track for compute, copy, each loader thread,
/// each adapter and each request. Keeps the latest `limit` spans. Any thread may record; recording
/// takes a lock for a moment.
class Trace {
 public:
  enum class Group : uint8_t { kEngine, kAdapters, kRequests };

  explicit Trace(const Clock& clock, size_t limit = 1'000'000);

  void Span(Group group, std::string_view track, std::string name, Moment begin, Moment end,
            std::string arguments_json = "{}");

  /// {"traceEvents": [...]}.
  std::string Json() const;

 private:
  struct Record {
    Group group;
    int32_t track = 0;
    std::string name;
    Moment begin;
    Duration length{};
    std::string arguments;
  };

  int32_t TrackId(Group group, std::string_view track);
  void Add(Record record);

  const size_t limit_;
  const Moment start_;
  mutable std::mutex mutex_;
  std::map<std::pair<Group, std::string>, int32_t, std::less<>> tracks_;
  std::deque<Record> records_;
};

}  // namespace weft::engine
