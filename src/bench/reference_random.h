#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "bench/mersenne_twister.h"

namespace weft::bench {

/// Draws what NumPy's legacy global generator draws after np.random.seed(seed), so that the same
/// seed makes the same work as SGLang's bench_serving. One thread.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : generator_(MersenneTwister::FromSeed(seed)) {}

  /// np.random.randint(low, high, size=count) with the default dtype int64: [low, high).
  std::vector<int64_t> RandInt(int64_t low, int64_t high, int count);
  /// np.random.exponential(scale).
  double Exponential(double scale);
  /// The index that np.random.choice(names, p=probabilities) takes.
  int Choice(std::span<const double> probabilities);

 private:
  MersenneTwister generator_;
};

/// Draws what Python's `random` module draws after random.seed(seed). One thread.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  /// The index that random.choice takes from a list of `size`.
  int64_t Below(int64_t size);

  /// random.shuffle.
  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (int64_t i = static_cast<int64_t>(items.size()) - 1; i > 0; --i) {
      using std::swap;
      const auto j = static_cast<size_t>(Below(i + 1));
      if (j != static_cast<size_t>(i)) swap(items[static_cast<size_t>(i)], items[j]);
    }
  }

 private:
  MersenneTwister generator_;
};

}  // namespace weft::bench
