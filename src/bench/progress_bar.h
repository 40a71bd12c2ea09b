#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"

namespace weft::bench {

/// " 37%|███████▍            | 37/100 [00:12<00:21,  3.01req/s]", as tqdm draws it. Pure.
std::string RenderProgress(size_t done, size_t total, double seconds);

/// Draws the bar on standard error where that is a terminal, otherwise nothing. One thread.
class ProgressBar {
 public:
  ProgressBar(size_t total, bool enabled, const Clock& clock);
  /// Leaves the last state on its line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(size_t done);

 private:
  void Draw();

  size_t total_;
  size_t done_ = 0;
  bool enabled_;
  const Clock& clock_;
  Moment start_;
  Moment drawn_{};
};

}  // namespace weft::bench
