#pragma once

#include <cstdint>

namespace weft::ops::cpu {

/// Rows that a task of a projection takes at most: their activations stay in L2 (1 MiB on Zen 4)
/// while the panels pass by. A multiple of the largest tile's twelve rows.
inline constexpr int32_t kRowBlock = 192;

/// A step's rows in equal blocks of at most kRowBlock, each a multiple of twelve but the last.
struct RowBlocks {
  int32_t rows = 0;
  int32_t count = 0;
  int32_t size = 0;

  explicit RowBlocks(int32_t all_rows) : rows(all_rows) {
    constexpr int32_t kTile = 12;
    count = (rows + kRowBlock - 1) / kRowBlock;
    if (count > 0) size = ((rows + count - 1) / count + kTile - 1) / kTile * kTile;
  }
  int32_t First(int32_t block) const { return block * size; }
  int32_t Rows(int32_t block) const {
    const int32_t left = rows - First(block);
    return left < size ? left : size;
  }
};

}  // namespace weft::ops::cpu
