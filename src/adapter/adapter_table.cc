#include "adapter/adapter_table.h"

#include "base/check.h"

namespace weft::adapter {

ops::AdapterTable BuildAdapterTable(const ImageLayout& layout, const ModelConfig& config,
                                    std::span<std::byte* const> pages) {
  WEFT_CHECK(static_cast<int32_t>(pages.size()) == layout.pages);
  const auto address = [&](ImageOffset place) {
    return pages[static_cast<size_t>(place.page)] + place.offset;
  };
  ops::AdapterTable table;
  table.tiles.reserve(layout.tiles.size());
  for (const TilePlacement& tile : layout.tiles) {
    table.tiles.push_back(ops::LoraTile{address(tile.a), address(tile.b), tile.width});
  }

  table.modules.resize(static_cast<size_t>(config.layers) * kProjectionCount);
  const std::span<const ops::LoraTile> tiles(table.tiles);
  for (size_t first = 0; first < tiles.size();) {
    size_t end = first;
    while (end < tiles.size() && layout.tiles[end].module == layout.tiles[first].module) ++end;
    const ModuleShape& shape = layout.modules[static_cast<size_t>(layout.tiles[first].module)];
    WEFT_CHECK(shape.layer.value() >= 0 && shape.layer.value() < config.layers);
    table.modules[static_cast<size_t>(shape.layer.value()) * kProjectionCount +
                  static_cast<size_t>(shape.projection)] =
        ops::LoraModule{tiles.subspan(first, end - first), shape.scaling};
    first = end;
  }
  return table;
}

}  // namespace weft::adapter
