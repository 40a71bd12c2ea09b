#include "bench/reference_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace weft::bench {
namespace {

/// The smallest 2^k - 1 that is at least `maximum`.
uint64_t MaskFor(uint64_t maximum) {
  return maximum == 0 ? 0 : ~uint64_t{0} >> std::countl_zero(maximum);
}

MersenneTwister PythonGenerator(uint64_t seed) {
  // CPython splits the integer into 32-bit digits, lowest first, without leading zeros.
  const std::array<uint32_t, 2> digits = {static_cast<uint32_t>(seed),
                                          static_cast<uint32_t>(seed >> 32)};
  return MersenneTwister::FromKey(std::span(digits).first(digits[1] == 0 ? 1 : 2));
}

}  // namespace

// numpy/random/src/distributions: random_bounded_uint64_fill with use_masked, which RandomState
// always asks for: masked rejection on 32 bits where the range fits, on 64 bits otherwise.
std::vector<int64_t> NumpyRandom::RandInt(int64_t low, int64_t high, int count) {
  WEFT_CHECK(low < high);
  const uint64_t range = static_cast<uint64_t>(high) - 1 - static_cast<uint64_t>(low);
  const uint64_t mask = MaskFor(range);
  std::vector<int64_t> values(static_cast<size_t>(count), low);
  if (range == 0) return values;
  for (int64_t& value : values) {
    uint64_t draw = 0;
    do {
      draw = generator_.NextUint32();
      if (range > 0xffffffffu) draw = (draw << 32) | generator_.NextUint32();
      draw &= mask;
    } while (draw > range);
    value = static_cast<int64_t>(static_cast<uint64_t>(low) + draw);
  }
  return values;
}

double NumpyRandom::Exponential(double scale) {
  return -std::log(1.0 - generator_.NextDouble()) * scale;
}

int NumpyRandom::Choice(std::span<const double> probabilities) {
  WEFT_CHECK(!probabilities.empty());
  std::vector<double> cumulative(probabilities.size());
  double sum = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) cumulative[i] = sum += probabilities[i];
  for (double& value : cumulative) value /= sum;
  const double draw = generator_.NextDouble();
  const auto above = std::upper_bound(cumulative.begin(), cumulative.end(), draw);
  return static_cast<int>(above - cumulative.begin());
}

PythonRandom::PythonRandom(uint64_t seed) : generator_(PythonGenerator(seed)) {}

// Random._randbelow_with_getrandbits; getrandbits of at most 32 bits takes the upper ones.
int64_t PythonRandom::Below(int64_t size) {
  WEFT_CHECK(size > 0 && size <= 0xffffffffLL);
  const int bits = std::bit_width(static_cast<uint64_t>(size));
  int64_t draw = size;
  while (draw >= size) draw = generator_.NextUint32() >> (32 - bits);
  return draw;
}

}  // namespace weft::bench
