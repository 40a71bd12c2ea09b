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

void TilePacker::PackBFloat16A(std::span<const BFloat16> a, int32_t rows, int32_t width, int32_t in,
                               std::byte* tile) const {
  std::vector<float> wide(a.size());
  std::ranges::transform(a, wide.begin(), ToFloat);
  PackA(wide, rows, width, in, tile);
}

void TilePacker::PackBFloat16B(std::span<const BFloat16> b, int32_t rank, int32_t first,
                               int32_t columns, int32_t width, int32_t out, std::byte* tile) const {
  std::vector<float> wide(b.size());
  std::ranges::transform(b, wide.begin(), ToFloat);
  PackB(wide, rank, first, columns, width, out, tile);
}

}  // namespace weft::ops
