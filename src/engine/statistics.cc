#include "engine/statistics.h"

#include "base/check.h"

namespace weft::engine {
namespace {

/// Seconds; from a hundredth of a millisecond to minutes, about three to a decade.
const std::vector<double>& Bounds() {
  static const std::vector<double> bounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                             0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5,
                                             5,      10,      25,     50,    100};
  return bounds;
}

}  // namespace

Recorder::Recorder() {
  for (const char* name : {"ttft_seconds", "itl_seconds", "e2e_seconds", "queue_seconds",
                           "adapter_read_seconds", "adapter_copy_seconds", "adapter_wait_seconds",
                           "step_seconds:decode", "step_seconds:prefill", "step_seconds:mixed"}) {
    stats_.histograms.emplace(name, Histogram(Bounds()));
  }
}

void Recorder::Observe(std::string_view name, Duration duration) {
  const auto found = stats_.histograms.find(std::string(name));
  WEFT_CHECK(found != stats_.histograms.end());
  found->second.Observe(Seconds(duration));
}

}  // namespace weft::engine
