#include "ops/lora.h"

#include <algorithm>
#include <atomic>

namespace weft::ops {

uint64_t NextTableSerial() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

std::vector<int32_t> RankTileWidths(int32_t rank) {
  std::vector<int32_t> widths;
  for (int32_t first = 0; first < rank; first += kRankTile) {
    const int32_t rest = std::min(rank - first, kRankTile);
    widths.push_back((rest + kRankTileGranule - 1) / kRankTileGranule * kRankTileGranule);
  }
  return widths;
}

}  // namespace weft::ops
