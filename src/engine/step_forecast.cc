#include "engine/step_forecast.h"

#include <algorithm>

namespace weft::engine {
namespace {

/// A step of fewer is no measure of what a row takes: most of it is not its rows'.
constexpr int32_t kTellingRows = 256;
/// Of what steps took lately, for what they will: sequences end, contexts differ.
constexpr int kPercent = 85;

}  // namespace

void StepForecast::Recent::Add(Duration value) {
  values_[next_] = value;
  next_ = (next_ + 1) % values_.size();
  count_ = std::min(count_ + 1, values_.size());
}

Duration StepForecast::Recent::Least() const {
  return count_ == 0 ? Duration{} : *std::min_element(values_.begin(), values_.begin() + count_);
}

void StepForecast::Observe(int32_t prefill_rows, Duration took) {
  // With prefills in it a step takes longer than its decodes alone.
  if (prefill_rows == 0 || took < decode_.Least()) decode_.Add(took);
  if (prefill_rows >= kTellingRows)
    prefill_row_.Add(std::max(took - decode_.Least(), Duration{}) / prefill_rows);
}

Duration StepForecast::AtLeast(int32_t prefill_rows) const {
  return (decode_.Least() + prefill_row_.Least() * prefill_rows) * kPercent / 100;
}

}  // namespace weft::engine
