#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace weft::bench {

/// MT19937 (Matsumoto and Nishimura, 1998), the generator under both NumPy's legacy RandomState and
/// Python's `random`. A value type; one thread.
class MersenneTwister {
 public:
  /// The authors' init_genrand.
  static MersenneTwister FromSeed(uint32_t seed);
  /// The authors' init_by_array.
  static MersenneTwister FromKey(std::span<const uint32_t> key);

  uint32_t NextUint32();
  /// 53 random bits in [0, 1).
  double NextDouble();

 private:
  static constexpr int kStateWords = 624;

  void Refill();

  std::array<uint32_t, kStateWords> state_{};
  int position_ = kStateWords;
};

}  // namespace weft::bench
