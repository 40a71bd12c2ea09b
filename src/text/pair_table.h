#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "base/strong_id.h"

namespace weft::text {

/// What two neighbouring tokens merge to, and how early.
struct PairMerge {
  uint32_t rank = 0;
  TokenId merged = -1;
};

/// (left, right) -> PairMerge: a hash table with open addressing, a cache line a look-up.
class PairTable {
 public:
  /// Room for `count` pairs.
  explicit PairTable(size_t count)
      : slots_(std::bit_ceil(count * 2 + 2)), mask_(slots_.size() - 1) {}

  /// A pair that is there already gets the new value. At most as many pairs as promised.
  void Insert(TokenId left, TokenId right, PairMerge merge) {
    Slot& slot = slots_[Find(Key(left, right))];
    slot = {Key(left, right), merge};
  }

  /// Null when the pair does not merge.
  const PairMerge* Look(TokenId left, TokenId right) const {
    const Slot& slot = slots_[Find(Key(left, right))];
    return slot.key == kEmpty ? nullptr : &slot.merge;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    PairMerge merge;
  };

  static uint64_t Key(TokenId left, TokenId right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }

  // The slot of the key, or the empty one where it would be.
  size_t Find(uint64_t key) const {
    constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio (Knuth 6.4).
    uint64_t hash = (key ^ (key >> 29)) * kMultiplier;
    size_t at = (hash ^ (hash >> 32)) & mask_;
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & mask_;
    return at;
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace weft::text
