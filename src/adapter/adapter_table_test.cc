#include "adapter/adapter_table.h"

#include <gtest/gtest.h>

#include <vector>

#include "adapter/model_shapes_for_test.h"

namespace weft::adapter {
namespace {

TEST(AdapterTable, PointsAtEveryTileOfItsModule) {
  const ModelConfig config = SmolLM2();
  const Bytes page_bytes = KvPage(config);
  std::vector<ModuleShape> modules = {ModuleOf(config, 2, Projection::kDown, 40),
                                      ModuleOf(config, 0, Projection::kQ, 8),
                                      ModuleOf(config, 29, Projection::kV, 64)};
  modules[0].scaling = 0.5F;
  const ImageLayout layout = *PackImage(modules, DType::kBFloat16, page_bytes);
  // Pages anywhere, in no order.
  std::vector<std::byte> arena(static_cast<size_t>(page_bytes) * 8);
  std::vector<std::byte*> pages;
  for (int32_t page = 0; page < layout.pages; ++page) {
    pages.push_back(arena.data() + page_bytes * (7 - 2 * page));
  }

  const ops::AdapterTable table = BuildAdapterTable(layout, config, pages);
  ASSERT_EQ(table.modules.size(), 30U * kProjectionCount);
  const ops::LoraModule& down = table.Module(LayerIndex(2), Projection::kDown);
  EXPECT_EQ(down.scaling, 0.5F);
  ASSERT_EQ(down.tiles.size(), 3U);
  EXPECT_EQ(down.tiles[2].width, 8);
  EXPECT_EQ(table.Module(LayerIndex(29), Projection::kV).tiles.size(), 4U);
  EXPECT_TRUE(table.Module(LayerIndex(1), Projection::kDown).tiles.empty());
  EXPECT_TRUE(table.Module(LayerIndex(2), Projection::kQ).tiles.empty());

  // Tiles of the layout are those of q in layer 0, then down in layer 2, then v in layer 29.
  for (size_t i = 0; i < 3; ++i) {
    const TilePlacement& placed = layout.tiles[1 + i];
    EXPECT_EQ(down.tiles[i].a, pages[static_cast<size_t>(placed.a.page)] + placed.a.offset);
    EXPECT_EQ(down.tiles[i].b, pages[static_cast<size_t>(placed.b.page)] + placed.b.offset);
  }
}

TEST(AdapterTable, MayBeMoved) {
  const ModelConfig config = SmolLM2();
  const ImageLayout layout =
      *PackImage({ModuleOf(config, 1, Projection::kK, 16)}, DType::kBFloat16, KvPage(config));
  std::vector<std::byte> page(static_cast<size_t>(KvPage(config)));
  std::vector<std::byte*> pages = {page.data()};
  ops::AdapterTable table = BuildAdapterTable(layout, config, pages);
  const ops::AdapterTable moved = std::move(table);
  const ops::LoraModule& module = moved.Module(LayerIndex(1), Projection::kK);
  ASSERT_EQ(module.tiles.size(), 1U);
  EXPECT_EQ(module.tiles.data(), moved.tiles.data());
}

}  // namespace
}  // namespace weft::adapter
