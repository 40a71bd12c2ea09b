#pragma once

#include <span>

namespace weft::bench {

/// Plain descriptions of a sample as NumPy computes them; 0 for an empty sample, as bench_serving
/// prints it.

/// np.sum: pairwise, so that long sums do not drift.
double Sum(std::span<const double> values);
double Mean(std::span<const double> values);
/// np.std: of the population.
double StandardDeviation(std::span<const double> values);
double Maximum(std::span<const double> values);
/// np.percentile with its default, linear method. `sorted` ascending; percent in [0, 100].
double Percentile(std::span<const double> sorted, double percent);
/// np.median. `sorted` ascending.
double Median(std::span<const double> sorted);

}  // namespace weft::bench
