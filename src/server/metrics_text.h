#pragma once

#include <mutex>
#include <string>

#include "base/clock.h"
#include "engine/service.h"

namespace weft::server {

/// /metrics: the engine's counts in Prometheus' text form, under vLLM's names for gateways and
/// under Weft's own. Any thread may call.
class MetricsText {
 public:
  /// `model_name` labels vLLM's series.
  MetricsText(std::string model_name, const Clock& clock);

  /// A histogram named "step_seconds:decode" becomes weft:step_seconds{kind="decode"}.
  std::string Serialize(const engine::EngineStats& stats);

 private:
  double CopyLinkUtilisation(const engine::EngineStats& stats);

  const std::string model_name_;
  const Clock& clock_;
  std::mutex mutex_;
  Moment last_scrape_;
  double last_copy_busy_ = 0;
};

}  // namespace weft::server
