#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/reference_random.h"

namespace weft::bench {

enum class AdapterDistribution : uint8_t { kUniform, kDistinct, kSkewed };

/// How requests arrive and which adapter each asks for.
struct ArrivalOptions {
  /// Requests a second; infinity sends all at once.
  double request_rate = 0;
  /// How many adapters there are to choose from; 0 sends everything to the base model.
  int adapters = 0;
  AdapterDistribution distribution = AdapterDistribution::kUniform;
  /// kSkewed: adapter i is alpha times as likely as adapter i + 1.
  double zipf_alpha = 1.5;
};

inline constexpr int kNoAdapter = -1;

struct Arrival {
  Duration at{};  ///< From the start of the run; the first is 0.
  int adapter = kNoAdapter;
};

/// The schedule that bench_serving draws after its dataset: for each request its adapter, then the
/// exponential gap to the next. Pure but for the generators it advances.
std::vector<Arrival> DrawArrivals(const ArrivalOptions& options, int count, NumpyRandom& numpy,
                                  PythonRandom& python);

}  // namespace weft::bench
