#include "adapter/image_layout.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "ops/lora.h"

namespace weft::adapter {
namespace {

/// Tiles begin at cache lines, which is also what vector loads want.
constexpr Bytes kTileAlignment = 64;

constexpr Bytes AlignUp(Bytes bytes) {
  return (bytes + kTileAlignment - 1) / kTileAlignment * kTileAlignment;
}

/// An A or a B that looks for its place.
struct Piece {
  Bytes size = 0;
  ImageOffset* place = nullptr;
};

struct OpenPage {
  int32_t page = 0;
  Bytes used = 0;
};

/// Places the pieces of one layer after the other. A page takes pieces of the layer that opened it
/// and of the next, so it is complete as soon as that one has been read.
class Packer {
 public:
  explicit Packer(Bytes page_bytes) : page_bytes_(page_bytes) {}

  void PlaceLayer(std::vector<Piece> pieces) {
    carried_ = std::move(opened_);
    opened_.clear();
    std::stable_sort(pieces.begin(), pieces.end(),
                     [](const Piece& x, const Piece& y) { return x.size > y.size; });
    for (const Piece& piece : pieces) *piece.place = Place(piece.size);
  }

  int32_t pages() const { return pages_; }

 private:
  ImageOffset Place(Bytes size) {
    // What the layer before left open is filled first: nobody can use it later.
    OpenPage* page = BestFit(carried_, size);
    if (page == nullptr) page = BestFit(opened_, size);
    if (page == nullptr) page = &opened_.emplace_back(OpenPage{pages_++, 0});
    const ImageOffset place{page->page, page->used};
    page->used = AlignUp(page->used + size);
    return place;
  }

  /// The page that has the least room left of those with enough; null when none has.
  OpenPage* BestFit(std::vector<OpenPage>& pages, Bytes size) const {
    OpenPage* best = nullptr;
    for (OpenPage& page : pages) {
      if (page.used + size > page_bytes_) continue;
      if (best == nullptr || page.used > best->used) best = &page;
    }
    return best;
  }

  const Bytes page_bytes_;
  std::vector<OpenPage> carried_;
  std::vector<OpenPage> opened_;
  int32_t pages_ = 0;
};

auto Order(const ModuleShape& module) { return std::tuple(module.layer, module.projection); }

Status CheckModule(const ModuleShape& module, DType dtype, Bytes page_bytes) {
  const auto name = ProjectionName(module.projection);
  if (module.rank <= 0 || module.in <= 0 || module.out <= 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "layer {} {}: rank {} of a matrix [{}, {}]; all must be positive",
                     module.layer.value(), name, module.rank, module.out, module.in);
  }
  const int32_t width = ops::RankTileWidths(module.rank).front();
  const Bytes largest = Bytes{width} * std::max(module.in, module.out) * SizeOf(dtype);
  if (largest > page_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "layer {} {}: a tile of {} ranks takes {}, but a page holds {}; it needs a "
                     "larger page",
                     module.layer.value(), name, width, FormatBytes(largest),
                     FormatBytes(page_bytes));
  }
  return OkStatus();
}

std::vector<TilePlacement> CutIntoTiles(const std::vector<ModuleShape>& modules) {
  std::vector<TilePlacement> tiles;
  for (size_t module = 0; module < modules.size(); ++module) {
    int32_t first_rank = 0;
    for (const int32_t width : ops::RankTileWidths(modules[module].rank)) {
      tiles.push_back(TilePlacement{
          .module = static_cast<int32_t>(module), .first_rank = first_rank, .width = width});
      first_rank += width;
    }
  }
  return tiles;
}

}  // namespace

Bytes LargestTile(const ModelConfig& config, DType dtype) {
  int32_t longest = 0;
  for (const Projection projection : kAllProjections) {
    longest = std::max({longest, config.InputSize(projection), config.OutputSize(projection)});
  }
  return Bytes{ops::kRankTile} * longest * SizeOf(dtype);
}

Result<ImageLayout> PackImage(std::vector<ModuleShape> modules, DType dtype, Bytes page_bytes) {
  WEFT_CHECK(page_bytes > 0 && page_bytes % kTileAlignment == 0);
  std::sort(modules.begin(), modules.end(),
            [](const ModuleShape& x, const ModuleShape& y) { return Order(x) < Order(y); });
  for (size_t i = 0; i < modules.size(); ++i) {
    WEFT_CHECK(i == 0 || Order(modules[i - 1]) < Order(modules[i]));
    WEFT_RETURN_IF_ERROR(CheckModule(modules[i], dtype, page_bytes));
  }

  ImageLayout layout;
  layout.tiles = CutIntoTiles(modules);
  layout.modules = std::move(modules);
  Packer packer(page_bytes);
  std::vector<Piece> pieces;
  for (size_t i = 0; i < layout.tiles.size(); ++i) {
    TilePlacement& tile = layout.tiles[i];
    const ModuleShape& module = layout.modules[static_cast<size_t>(tile.module)];
    pieces.push_back(Piece{TileBytesA(module, tile, dtype), &tile.a});
    pieces.push_back(Piece{TileBytesB(module, tile, dtype), &tile.b});
    layout.used_bytes += pieces[pieces.size() - 2].size + pieces.back().size;
    const bool ends_layer =
        i + 1 == layout.tiles.size() ||
        layout.modules[static_cast<size_t>(layout.tiles[i + 1].module)].layer != module.layer;
    if (ends_layer) packer.PlaceLayer(std::exchange(pieces, {}));
  }
  layout.pages = packer.pages();
  return layout;
}

Bytes TileBytesA(const ModuleShape& module, const TilePlacement& tile, DType dtype) {
  return Bytes{tile.width} * module.in * SizeOf(dtype);
}

Bytes TileBytesB(const ModuleShape& module, const TilePlacement& tile, DType dtype) {
  return Bytes{tile.width} * module.out * SizeOf(dtype);
}

std::vector<EmptySpan> EmptySpans(const ImageLayout& layout, DType dtype, Bytes page_bytes) {
  std::vector<EmptySpan> taken;
  for (const TilePlacement& tile : layout.tiles) {
    const ModuleShape& module = layout.modules[static_cast<size_t>(tile.module)];
    taken.push_back(EmptySpan{tile.a, TileBytesA(module, tile, dtype)});
    taken.push_back(EmptySpan{tile.b, TileBytesB(module, tile, dtype)});
  }
  // An empty piece at each page's end, so that what lies before it is seen as empty too.
  for (int32_t page = 0; page < layout.pages; ++page) {
    taken.push_back(EmptySpan{{page, page_bytes}, 0});
  }
  std::sort(taken.begin(), taken.end(), [](const EmptySpan& x, const EmptySpan& y) {
    return std::tuple(x.begin.page, x.begin.offset) < std::tuple(y.begin.page, y.begin.offset);
  });
  std::vector<EmptySpan> empty;
  ImageOffset reached;
  for (const EmptySpan& span : taken) {
    if (span.begin.page != reached.page) reached = ImageOffset{span.begin.page, 0};
    if (span.begin.offset > reached.offset) {
      empty.push_back(EmptySpan{reached, span.begin.offset - reached.offset});
    }
    reached.offset = span.begin.offset + span.bytes;
  }
  return empty;
}

}  // namespace weft::adapter
