#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bfloat16.h"
#include "base/dtype.h"
#include "base/strong_id.h"
#include "checkpoint/model_config.h"

namespace weft::ops {

/// The rank of an adapter's module is cut into tiles of this many; the last is as wide as the rest
/// rounded up to kRankTileGranule. So nothing is padded to the largest rank of a batch.
inline constexpr int32_t kRankTile = 16;
inline constexpr int32_t kRankTileGranule = 8;

/// The widths of the tiles of `rank`: 16, 16, ..., the rest rounded up to 8.
std::vector<int32_t> RankTileWidths(int32_t rank);

/// Orders the elements inside a tile as a backend's kernels read them. Sizes do not depend on the
/// backend: a tile of A takes width x in elements, a tile of B out x width. Stateless; any thread
/// may call (never the engine's).
class TilePacker {
 public:
  virtual ~TilePacker() = default;
  virtual DType dtype() const = 0;
  /// `a`: `rows` <= width rows of A, row-major [rows, in]. Rows past `rows` become zero.
  virtual void PackA(std::span<const float> a, int32_t rows, int32_t width, int32_t in,
                     std::byte* tile) const = 0;
  /// `b`: B, row-major [out, rank]; takes columns [first, first + columns). Columns past those
  /// become zero.
  virtual void PackB(std::span<const float> b, int32_t rank, int32_t first, int32_t columns,
                     int32_t width, int32_t out, std::byte* tile) const = 0;

  /// The same from bfloat16, to the same tile as from the values widened. A packer of bfloat16
  /// overrides these: adapters come this way, and what they do here is widen.
  virtual void PackBFloat16A(std::span<const BFloat16> a, int32_t rows, int32_t width, int32_t in,
                             std::byte* tile) const;
  virtual void PackBFloat16B(std::span<const BFloat16> b, int32_t rank, int32_t first,
                             int32_t columns, int32_t width, int32_t out, std::byte* tile) const;
};

/// Where one rank tile of one module lies on the device.
struct LoraTile {
  const std::byte* a = nullptr;
  const std::byte* b = nullptr;
  int32_t width = 0;
};

/// One module of a resident adapter: y += scaling * B (A x). No tiles: the adapter leaves it as it
/// is.
struct LoraModule {
  std::span<const LoraTile> tiles;
  float scaling = 0.0F;
};

/// A number that no other table of this process has or had.
uint64_t NextTableSerial();

/// A resident adapter as kernels see it. Built when its copy is complete, never changed after;
/// whoever submits a step keeps it alive until the step has completed.
struct AdapterTable {
  uint64_t serial = NextTableSerial();  ///< A backend may keep by it what it made of the table.
  std::vector<LoraTile> tiles;
  std::vector<LoraModule> modules;  ///< [layer][projection], layer-major, kProjectionCount a layer.

  const LoraModule& Module(LayerIndex layer, Projection projection) const {
    return modules[static_cast<size_t>(layer.value()) * kProjectionCount +
                   static_cast<size_t>(projection)];
  }
};

}  // namespace weft::ops
