#include "adapter/image_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "adapter/model_shapes_for_test.h"
#include "ops/lora.h"

namespace weft::adapter {
namespace {

using ::testing::HasSubstr;

double Waste(const ImageLayout& layout, Bytes page_bytes) {
  return 1.0 - static_cast<double>(layout.used_bytes) /
                   static_cast<double>(Bytes{layout.pages} * page_bytes);
}

double WasteOf(const ModelConfig& config, int32_t rank) {
  const auto layout = PackImage(AllModules(config, rank), DType::kBFloat16, KvPage(config));
  EXPECT_TRUE(layout.ok());
  return Waste(*layout, KvPage(config));
}

struct Extent {
  Bytes begin = 0;
  Bytes end = 0;
  int32_t adapted_layer = 0;  ///< Counted among the layers that the adapter changes.
};

/// What must hold of every image.
void CheckLayout(const ImageLayout& layout, const std::vector<ModuleShape>& modules, DType dtype,
                 Bytes page_bytes) {
  ASSERT_EQ(layout.modules.size(), modules.size());
  std::map<LayerIndex, int32_t> adapted;
  for (const ModuleShape& module : layout.modules) adapted.emplace(module.layer, 0);
  int32_t order = 0;
  for (auto& [layer, index] : adapted) index = order++;

  std::vector<std::vector<Extent>> pages(static_cast<size_t>(layout.pages));
  std::vector<int32_t> ranks(modules.size(), 0);
  Bytes used = 0;
  const auto add = [&](ImageOffset place, Bytes bytes, LayerIndex layer) {
    ASSERT_GE(place.page, 0);
    ASSERT_LT(place.page, layout.pages);
    ASSERT_EQ(place.offset % 64, 0);
    ASSERT_LE(place.offset + bytes, page_bytes);
    used += bytes;
    pages[static_cast<size_t>(place.page)].push_back(
        Extent{place.offset, place.offset + bytes, adapted.at(layer)});
  };
  int32_t last_module = 0;
  for (const TilePlacement& tile : layout.tiles) {
    ASSERT_GE(tile.module, last_module);
    last_module = tile.module;
    const ModuleShape& module = layout.modules[static_cast<size_t>(tile.module)];
    ASSERT_EQ(tile.first_rank, ranks[static_cast<size_t>(tile.module)]);
    ranks[static_cast<size_t>(tile.module)] += tile.width;
    add(tile.a, Bytes{tile.width} * module.in * SizeOf(dtype), module.layer);
    add(tile.b, Bytes{tile.width} * module.out * SizeOf(dtype), module.layer);
  }
  ASSERT_EQ(used, layout.used_bytes);
  for (size_t i = 0; i < ranks.size(); ++i) {
    ASSERT_GE(ranks[i], layout.modules[i].rank);
    ASSERT_LT(ranks[i], layout.modules[i].rank + ops::kRankTileGranule);
  }

  int32_t last_completed = 0;
  Bytes empty = 0;
  for (std::vector<Extent>& page : pages) {
    ASSERT_FALSE(page.empty());
    std::ranges::sort(page, {}, &Extent::begin);
    Bytes end = 0;
    for (const Extent& extent : page) {
      ASSERT_GE(extent.begin, end) << "two tiles overlap";
      empty += extent.begin - end;
      end = extent.end;
    }
    empty += page_bytes - end;
    const auto [first, last] = std::ranges::minmax(page, {}, &Extent::adapted_layer);
    ASSERT_LE(last.adapted_layer - first.adapted_layer, 1);
    ASSERT_GE(first.adapted_layer, last_completed) << "pages are not in the order of layers";
    last_completed = first.adapted_layer;
  }
  Bytes empty_spans = 0;
  for (const EmptySpan& span : EmptySpans(layout, dtype, page_bytes)) {
    for (const Extent& extent : pages[static_cast<size_t>(span.begin.page)]) {
      ASSERT_TRUE(span.begin.offset + span.bytes <= extent.begin ||
                  span.begin.offset >= extent.end);
    }
    empty_spans += span.bytes;
  }
  ASSERT_EQ(empty_spans, empty);
  ASSERT_EQ(empty, Bytes{layout.pages} * page_bytes - used);
}

TEST(ImageLayout, Llama8BWastesUnderOnePercent) {
  ASSERT_EQ(KvPage(Llama8B()), 2 * kMiB);
  for (const int32_t rank : {16, 64, 128}) EXPECT_LT(WasteOf(Llama8B(), rank), 0.01) << rank;
}

TEST(ImageLayout, Qwen7BWastesAtMostSevenPercent) {
  ASSERT_EQ(KvPage(Qwen7B()), 896 * kKiB);
  for (const int32_t rank : {64, 128}) EXPECT_LE(WasteOf(Qwen7B(), rank), 0.07) << rank;
  // At rank 16 no packing does better than this one: a layer has three tiles of 592 KiB, each in a
  // page of its own with room for two of 112 KiB, and nine of those; eight of the rest fill a page.
  const auto layout = PackImage(AllModules(Qwen7B(), 16), DType::kBFloat16, KvPage(Qwen7B()));
  EXPECT_EQ(layout->pages, 28 * 3 + (28 * (9 - 6) + 7) / 8);
  EXPECT_LT(Waste(*layout, KvPage(Qwen7B())), 0.075);
}

TEST(ImageLayout, SmolLM2WastesLittle) {
  ASSERT_EQ(KvPage(SmolLM2()), 360 * kKiB);
  for (const int32_t rank : {16, 64, 128}) EXPECT_LT(WasteOf(SmolLM2(), rank), 0.02) << rank;
  // Two layers of rank 8 do not fill a page, and a page takes no third.
  EXPECT_LT(WasteOf(SmolLM2(), 8), 0.12);
}

TEST(ImageLayout, RealModelsKeepEveryRule) {
  for (const ModelConfig& config : {Llama8B(), Qwen7B(), SmolLM2()}) {
    for (const int32_t rank : {3, 16, 40, 64, 128}) {
      const auto modules = AllModules(config, rank);
      const auto layout = PackImage(modules, DType::kBFloat16, KvPage(config));
      ASSERT_TRUE(layout.ok());
      CheckLayout(*layout, modules, DType::kBFloat16, KvPage(config));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ImageLayout, OddRanksAreRoundedUpToEight) {
  const auto widths = [](int32_t rank) {
    std::vector<int32_t> result;
    const auto layout =
        PackImage({ModuleOf(SmolLM2(), 0, Projection::kQ, rank)}, DType::kBFloat16, 360 * kKiB);
    for (const TilePlacement& tile : layout->tiles) result.push_back(tile.width);
    return result;
  };
  EXPECT_EQ(widths(3), (std::vector<int32_t>{8}));
  EXPECT_EQ(widths(40), (std::vector<int32_t>{16, 16, 8}));
}

TEST(ImageLayout, ATileLargerThanAPageIsRefused) {
  const ModelConfig config = SmolLM2();
  EXPECT_EQ(LargestTile(config, DType::kBFloat16), 16 * 1536 * 2);
  EXPECT_EQ(LargestTile(config, DType::kFloat32), 16 * 1536 * 4);
  const auto modules = AllModules(config, 16);
  EXPECT_TRUE(PackImage(modules, DType::kBFloat16, LargestTile(config, DType::kBFloat16)).ok());
  const auto refused =
      PackImage(modules, DType::kBFloat16, LargestTile(config, DType::kBFloat16) - 64);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("layer 0 gate_proj"));
  // A narrower tile fits again.
  EXPECT_TRUE(
      PackImage(AllModules(config, 8), DType::kBFloat16, LargestTile(config, DType::kBFloat16) - 64)
          .ok());
}

TEST(ImageLayout, OrderOfTheModulesDoesNotMatter) {
  auto modules = AllModules(Qwen7B(), 40);
  const auto layout = PackImage(modules, DType::kBFloat16, KvPage(Qwen7B()));
  std::ranges::shuffle(modules, std::mt19937_64(3));
  const auto shuffled = PackImage(modules, DType::kBFloat16, KvPage(Qwen7B()));
  ASSERT_EQ(layout->tiles.size(), shuffled->tiles.size());
  for (size_t i = 0; i < layout->tiles.size(); ++i) {
    EXPECT_EQ(layout->tiles[i].a.page, shuffled->tiles[i].a.page);
    EXPECT_EQ(layout->tiles[i].a.offset, shuffled->tiles[i].a.offset);
    EXPECT_EQ(layout->tiles[i].b.page, shuffled->tiles[i].b.page);
    EXPECT_EQ(layout->tiles[i].b.offset, shuffled->tiles[i].b.offset);
  }
}

TEST(ImageLayout, RandomShapesKeepEveryRule) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto up_to = [&](uint64_t limit) { return static_cast<int32_t>(1 + random() % limit); };
    ModelConfig config = ShapeOf(up_to(700), up_to(1500), up_to(12), up_to(8), 1, up_to(80));
    config.kv_heads = up_to(static_cast<uint64_t>(config.heads));
    const DType dtype = random() % 4 == 0 ? DType::kFloat32 : DType::kBFloat16;
    const Bytes smallest = (LargestTile(config, dtype) + 63) / 64 * 64;
    const Bytes page_bytes = smallest + 64 * static_cast<Bytes>(random() % 3000);
    std::vector<ModuleShape> modules;
    for (int32_t layer = 0; layer < config.layers; ++layer) {
      for (const Projection projection : kAllProjections) {
        if (random() % 3 == 0) continue;
        modules.push_back(ModuleOf(config, layer, projection, up_to(70)));
      }
    }
    const auto layout = PackImage(modules, dtype, page_bytes);
    ASSERT_TRUE(layout.ok()) << layout.error().message;
    // Odd rows leave gaps below 64 bytes between tiles; those count as empty, not as used.
    CheckLayout(*layout, modules, dtype, page_bytes);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace weft::adapter
