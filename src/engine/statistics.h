#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/service.h"

namespace weft::engine {

/// Counts what happens. One thread; copied out as EngineStats.
class Recorder {
 public:
  Recorder();

  /// `name` is one of the histograms EngineStats documents.
  void Observe(std::string_view name, Duration duration);
  EngineStats& stats() { return stats_; }

 private:
  EngineStats stats_;
};

}  // namespace weft::engine
