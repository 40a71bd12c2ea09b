#pragma once

#include <functional>
#include <future>
#include <list>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace weft::cli {

/// What a start consists of: parts that run one after another or side by side, each with its time.
/// One thread calls it; the destructor waits for parts that still run.
class StartParts {
 public:
  explicit StartParts(const Clock& clock) : clock_(clock), begin_(clock.Now()) {}

  /// Does the work on this thread.
  Status Run(std::string_view name, const std::function<Status()>& work);
  /// Does it on a thread of its own, beside what follows until Join.
  void Begin(std::string_view name, std::function<Status()> work);
  /// Waits for every part that Begin began. The answer is the error of the earliest that failed.
  Status Join();
  /// "files 0.00-0.02, weights 0.02-0.35, ...": seconds since this was made. After Join.
  std::string Times() const;

 private:
  struct Part {
    std::string name;
    Moment begin;
    Moment end;
    std::future<Status> running;
  };

  const Clock& clock_;
  const Moment begin_;
  std::list<Part> parts_;
};

}  // namespace weft::cli
