#include "bench/mersenne_twister.h"

#include <algorithm>

#include "base/check.h"

namespace weft::bench {
namespace {

constexpr int kMiddleWord = 397;
constexpr uint32_t kUpperBit = 0x80000000u;
constexpr uint32_t kLowerBits = 0x7fffffffu;

uint32_t Twist(uint32_t upper, uint32_t lower) {
  const uint32_t mixed = (upper & kUpperBit) | (lower & kLowerBits);
  return (mixed >> 1) ^ ((lower & 1u) != 0 ? 0x9908b0dfu : 0u);
}

}  // namespace

MersenneTwister MersenneTwister::FromSeed(uint32_t seed) {
  MersenneTwister generator;
  auto& state = generator.state_;
  state[0] = seed;
  for (uint32_t i = 1; i < kStateWords; ++i) {
    state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
  }
  return generator;
}

MersenneTwister MersenneTwister::FromKey(std::span<const uint32_t> key) {
  WEFT_CHECK(!key.empty());
  MersenneTwister generator = FromSeed(19650218u);
  auto& state = generator.state_;
  size_t i = 1;
  size_t j = 0;
  for (size_t k = std::max<size_t>(kStateWords, key.size()); k > 0; --k) {
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1664525u)) + key[j] +
               static_cast<uint32_t>(j);
    if (++i == kStateWords) {
      state[0] = state[kStateWords - 1];
      i = 1;
    }
    if (++j == key.size()) j = 0;
  }
  for (size_t k = kStateWords - 1; k > 0; --k) {
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1566083941u)) -
               static_cast<uint32_t>(i);
    if (++i == kStateWords) {
      state[0] = state[kStateWords - 1];
      i = 1;
    }
  }
  state[0] = kUpperBit;
  return generator;
}

void MersenneTwister::Refill() {
  for (int i = 0; i < kStateWords; ++i) {
    state_[i] =
        state_[(i + kMiddleWord) % kStateWords] ^ Twist(state_[i], state_[(i + 1) % kStateWords]);
  }
  position_ = 0;
}

uint32_t MersenneTwister::NextUint32() {
  if (position_ == kStateWords) Refill();
  uint32_t word = state_[position_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

double MersenneTwister::NextDouble() {
  const uint32_t high = NextUint32() >> 5;
  const uint32_t low = NextUint32() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

}  // namespace weft::bench
