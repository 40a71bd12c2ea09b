#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/model_config.h"

namespace weft::adapter {

/// One module of an adapter, as far as its place in an image goes.
struct ModuleShape {
  LayerIndex layer;
  Projection projection = Projection::kQ;
  int32_t rank = 0;
  int32_t in = 0;
  int32_t out = 0;
  float scaling = 0.0F;  ///< alpha / r, or alpha / sqrt(r) for rsLoRA.
};

/// A place inside an image.
struct ImageOffset {
  int32_t page = 0;  ///< Counted from the image's first page.
  Bytes offset = 0;  ///< Inside the page; a multiple of 64.
  friend bool operator==(const ImageOffset&, const ImageOffset&) = default;
};

struct TilePlacement {
  int32_t module = 0;      ///< Index into ImageLayout::modules.
  int32_t first_rank = 0;  ///< The tile holds ranks [first_rank, first_rank + width), the last tile
                           ///< zeros past the rank.
  int32_t width = 0;
  ImageOffset a;  ///< width x in elements.
  ImageOffset b;  ///< out x width elements.
};

/// Where every tile of an adapter lies in its image. The image in host memory and the pages on the
/// device have the same layout, so bringing an adapter in is a plain copy of whole pages.
struct ImageLayout {
  std::vector<ModuleShape> modules;  ///< By layer, then projection.
  std::vector<TilePlacement> tiles;  ///< By module, then rank.
  int32_t pages = 0;
  Bytes used_bytes = 0;  ///< Without what packing leaves empty.
};

/// The largest single tile an adapter for this model can have: no page may be smaller.
Bytes LargestTile(const ModelConfig& config, DType dtype);

/// Packs tiles layer by layer, best fit within a layer and into what the layer before left open;
/// none crosses a page's end. So a page holds tiles of at most two layers that follow each other in
/// the adapter, and pages are numbered in the order in which layers complete them. Pure: the same
/// shapes give the same layout. `page_bytes` is a multiple of 64; no two modules are the same
/// projection of the same layer. Error when a tile is larger than a page.
Result<ImageLayout> PackImage(std::vector<ModuleShape> modules, DType dtype, Bytes page_bytes);

/// Bytes of a tile's A (width x in) and B (out x width).
Bytes TileBytesA(const ModuleShape& module, const TilePlacement& tile, DType dtype);
Bytes TileBytesB(const ModuleShape& module, const TilePlacement& tile, DType dtype);

/// A stretch of a page that no tile covers.
struct EmptySpan {
  ImageOffset begin;
  Bytes bytes = 0;
};
/// What packing left empty, in order. Whoever fills an image zeroes it, so that no page ever holds
/// bytes of an earlier owner.
std::vector<EmptySpan> EmptySpans(const ImageLayout& layout, DType dtype, Bytes page_bytes);

}  // namespace weft::adapter
