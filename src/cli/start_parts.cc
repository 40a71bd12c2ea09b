#include "cli/start_parts.h"

#include <fmt/format.h>

#include <utility>

namespace weft::cli {

Status StartParts::Run(std::string_view name, const std::function<Status()>& work) {
  Part& part = parts_.emplace_back(Part{std::string(name), clock_.Now(), {}, {}});
  Status status = work();
  part.end = clock_.Now();
  return status;
}

void StartParts::Begin(std::string_view name, std::function<Status()> work) {
  Part& part = parts_.emplace_back(Part{std::string(name), clock_.Now(), {}, {}});
  part.running = std::async(std::launch::async, [this, &part, work = std::move(work)] {
    Status status = work();
    part.end = clock_.Now();
    return status;
  });
}

Status StartParts::Join() {
  Status first;
  for (Part& part : parts_) {
    if (!part.running.valid()) continue;
    Status status = part.running.get();
    if (first.ok()) first = std::move(status);
  }
  return first;
}

std::string StartParts::Times() const {
  std::string times;
  for (const Part& part : parts_)
    times += fmt::format("{}{} {:.2f}-{:.2f}", times.empty() ? "" : ", ", part.name,
                         Seconds(part.begin - begin_), Seconds(part.end - begin_));
  return times;
}

}  // namespace weft::cli
