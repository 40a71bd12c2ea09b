#include "engine/trace.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace weft::engine {
namespace {

std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

constexpr std::string_view kGroupNames[] = {"engine", "adapters", "requests"};

double Microseconds(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

Trace::Trace(const Clock& clock, size_t limit) : limit_(limit), start_(clock.Now()) {}

int32_t Trace::TrackId(Group group, std::string_view track) {
  const auto key = std::make_pair(group, std::string(track));
  const auto found = tracks_.find(key);
  if (found != tracks_.end()) return found->second;
  const auto id = static_cast<int32_t>(tracks_.size()) + 1;
  tracks_.emplace(key, id);
  return id;
}

void Trace::Add(Record record) {
  records_.push_back(std::move(record));
  if (records_.size() > limit_) records_.pop_front();
}

void Trace::Span(Group group, std::string_view track, std::string name, Moment begin, Moment end,
                 std::string arguments_json) {
  std::lock_guard lock(mutex_);
  Add({group, TrackId(group, track), std::move(name), begin, end - begin,
       std::move(arguments_json)});
}

std::string Trace::Json() const {
  std::deque<Record> records;
  std::map<std::pair<Group, std::string>, int32_t, std::less<>> tracks;
  {
    // Written out from a copy: the engine records under this lock.
    std::lock_guard lock(mutex_);
    records = records_;
    tracks = tracks_;
  }
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  auto out = std::back_inserter(json);
  const char* separator = "";
  for (size_t group = 0; group < std::size(kGroupNames); ++group) {
    fmt::format_to(out, R"({}{{"ph":"M","name":"process_name","pid":{},"args":{{"name":"{}"}}}})",
                   separator, group + 1, kGroupNames[group]);
    separator = ",\n";
  }
  for (const auto& [key, id] : tracks) {
    fmt::format_to(out,
                   R"(,{}{{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})",
                   '\n', static_cast<int>(key.first) + 1, id, Quote(key.second));
  }
  for (const Record& record : records) {
    fmt::format_to(
        out, R"(,{}{{"ph":"X","name":{},"pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{}}})",
        '\n', Quote(record.name), static_cast<int>(record.group) + 1, record.track,
        Microseconds(record.begin - start_), Microseconds(record.length), record.arguments);
  }
  json += "]}\n";
  return json;
}

}  // namespace weft::engine
