#include "bench/arrivals.h"

#include <cmath>

#include "bench/statistics.h"

namespace weft::bench {
namespace {

std::vector<double> ZipfProbabilities(int adapters, double alpha) {
  std::vector<double> weights(static_cast<size_t>(adapters));
  for (int i = 0; i < adapters; ++i) weights[static_cast<size_t>(i)] = std::pow(alpha, -i);
  const double sum = Sum(weights);
  for (double& weight : weights) weight /= sum;
  return weights;
}

}  // namespace

std::vector<Arrival> DrawArrivals(const ArrivalOptions& options, int count, NumpyRandom& numpy,
                                  PythonRandom& python) {
  std::vector<double> probabilities;
  if (options.adapters > 0 && options.distribution == AdapterDistribution::kSkewed) {
    probabilities = ZipfProbabilities(options.adapters, options.zipf_alpha);
  }
  std::vector<Arrival> arrivals(static_cast<size_t>(count));
  double at_seconds = 0;
  for (int i = 0; i < count; ++i) {
    Arrival& arrival = arrivals[static_cast<size_t>(i)];
    arrival.at = FromSeconds(at_seconds);
    if (options.adapters > 0) {
      switch (options.distribution) {
        case AdapterDistribution::kUniform:
          arrival.adapter = static_cast<int>(python.Below(options.adapters));
          break;
        case AdapterDistribution::kDistinct:
          arrival.adapter = i % options.adapters;
          break;
        case AdapterDistribution::kSkewed:
          arrival.adapter = numpy.Choice(probabilities);
          break;
      }
    }
    if (std::isfinite(options.request_rate)) {
      at_seconds += numpy.Exponential(1.0 / options.request_rate);
    }
  }
  return arrivals;
}

}  // namespace weft::bench
