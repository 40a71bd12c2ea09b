#include "adapter/image_read.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace weft::adapter {
namespace {

/// The first `count` of `values`, which grow when they are fewer.
template <typename T>
std::span<T> Grown(std::vector<T>& values, int64_t count) {
  if (std::ssize(values) < count) values.resize(static_cast<size_t>(count));
  return std::span(values).first(static_cast<size_t>(count));
}

// ops::TilePacker has a name for each type of element; here they are one.
void PackA(const ops::TilePacker& packer, std::span<const float> a, int32_t rows, int32_t width,
           int32_t in, std::byte* tile) {
  packer.PackA(a, rows, width, in, tile);
}
void PackA(const ops::TilePacker& packer, std::span<const BFloat16> a, int32_t rows, int32_t width,
           int32_t in, std::byte* tile) {
  packer.PackBFloat16A(a, rows, width, in, tile);
}
void PackB(const ops::TilePacker& packer, std::span<const float> b, int32_t rank, int32_t first,
           int32_t columns, int32_t width, int32_t out, std::byte* tile) {
  packer.PackB(b, rank, first, columns, width, out, tile);
}
void PackB(const ops::TilePacker& packer, std::span<const BFloat16> b, int32_t rank, int32_t first,
           int32_t columns, int32_t width, int32_t out, std::byte* tile) {
  packer.PackBFloat16B(b, rank, first, columns, width, out, tile);
}

}  // namespace

/// Parts that are read with one call.
struct ImageRead::Piece {
  Bytes offset = 0;  ///< From the start of the file.
  Bytes bytes = 0;
  std::vector<checkpoint::RangePart> parts;  ///< Offsets from the start of the piece.
};

Result<std::unique_ptr<ImageRead>> ImageRead::Begin(FileSystem& files, const ImageFormat& format,
                                                    const Clock& clock,
                                                    std::shared_ptr<const OpenedAdapter> opened,
                                                    std::vector<std::byte*> pages) {
  std::unique_ptr<ImageRead> read(
      new ImageRead(files, format, clock, std::move(opened), std::move(pages)));
  WEFT_ASSIGN_OR_RETURN(read->file_, files.Open(read->source().weights_path));
  // After opening: if a path leads to other files by now, the stamps differ.
  WEFT_RETURN_IF_ERROR(read->CheckUnchanged());
  return read;
}

ImageRead::ImageRead(FileSystem& files, const ImageFormat& format, const Clock& clock,
                     std::shared_ptr<const OpenedAdapter> opened, std::vector<std::byte*> pages)
    : files_(files),
      format_(format),
      clock_(clock),
      opened_(std::move(opened)),
      pages_(std::move(pages)) {
  const ImageLayout& layout = opened_->layout;
  WEFT_CHECK(static_cast<int32_t>(pages_.size()) == layout.pages);
  WEFT_CHECK(layout.modules.size() == source().modules.size());
  for (const ModuleShape& module : layout.modules) {
    if (layers_.empty() || layers_.back() != module.layer) layers_.push_back(module.layer);
  }
  for (size_t tile = 0; tile < layout.tiles.size(); ++tile) {
    if (layout.tiles[tile].first_rank == 0) first_tile_.push_back(tile);
  }
  first_tile_.push_back(layout.tiles.size());
}

Status ImageRead::ReadLayer(LayerIndex layer, ReadStaging& staging, ReadMonitor& monitor) {
  for (const checkpoint::ReadRange& range : checkpoint::PlanLayerReads(source(), layer)) {
    Piece piece;
    for (const checkpoint::RangePart& part : range.parts) {
      const Bytes size = checkpoint::PartTensor(source(), part).size;
      const Bytes begin = range.offset + part.offset;
      if (!piece.parts.empty() && begin + size - piece.offset > format_.piece_bytes) {
        WEFT_RETURN_IF_ERROR(ReadPiece(std::exchange(piece, {}), staging, monitor));
      }
      if (piece.parts.empty()) piece.offset = begin;
      piece.bytes = begin + size - piece.offset;
      piece.parts.push_back(checkpoint::RangePart{part.module, part.is_b, begin - piece.offset});
    }
    WEFT_RETURN_IF_ERROR(ReadPiece(piece, staging, monitor));
  }
  return OkStatus();
}

Status ImageRead::ReadPiece(const Piece& piece, ReadStaging& staging, ReadMonitor& monitor) {
  WEFT_RETURN_IF_ERROR(monitor.BeforePiece(piece.bytes));
  const std::span<std::byte> raw = Grown(staging.raw, piece.bytes);
  const Moment begin = clock_.Now();
  WEFT_RETURN_IF_ERROR(Explain(file_->Read(piece.offset, raw)));
  const Moment read = clock_.Now();
  monitor.Done(LoadSpan::Kind::kRead, begin, read, piece.bytes);
  for (const checkpoint::RangePart& part : piece.parts) {
    WEFT_RETURN_IF_ERROR(
        Explain(PackPart(part, checkpoint::PartBytes(source(), part, raw), staging)));
  }
  monitor.Done(LoadSpan::Kind::kConvert, read, clock_.Now(), piece.bytes);
  return OkStatus();
}

Status ImageRead::PackPart(const checkpoint::RangePart& part, std::span<const std::byte> raw,
                           ReadStaging& staging) {
  if (format_.packer.dtype() == DType::kBFloat16) return PackTiles(part, raw, staging.halves);
  return PackTiles(part, raw, staging.floats);
}

template <typename Element>
Status ImageRead::PackTiles(const checkpoint::RangePart& part, std::span<const std::byte> raw,
                            std::vector<Element>& staging) {
  const checkpoint::TensorRef& tensor = checkpoint::PartTensor(source(), part);
  const std::span<Element> values = Grown(staging, tensor.rows * tensor.columns);
  WEFT_RETURN_IF_ERROR(checkpoint::ConvertTensor(tensor, raw, values));
  const auto module = static_cast<size_t>(part.module);
  const ModuleShape& shape = opened_->layout.modules[module];
  for (size_t i = first_tile_[module]; i < first_tile_[module + 1]; ++i) {
    const TilePlacement& tile = opened_->layout.tiles[i];
    const int32_t ranks = std::min(tile.width, shape.rank - tile.first_rank);
    if (part.is_b) {
      PackB(format_.packer, std::span<const Element>(values), shape.rank, tile.first_rank, ranks,
            tile.width, shape.out, Address(tile.b));
    } else {
      const auto first = static_cast<size_t>(tile.first_rank) * static_cast<size_t>(shape.in);
      const auto count = static_cast<size_t>(ranks) * static_cast<size_t>(shape.in);
      PackA(format_.packer, std::span<const Element>(values.subspan(first, count)), ranks,
            tile.width, shape.in, Address(tile.a));
    }
  }
  return OkStatus();
}

Status ImageRead::Finish() {
  const DType dtype = format_.packer.dtype();
  for (const EmptySpan& span : EmptySpans(opened_->layout, dtype, format_.page_bytes)) {
    std::memset(Address(span.begin), 0, static_cast<size_t>(span.bytes));
  }
  return CheckUnchanged();
}

std::byte* ImageRead::Address(ImageOffset place) const {
  return pages_[static_cast<size_t>(place.page)] + place.offset;
}

Status ImageRead::CheckUnchanged() const {
  const std::pair<std::string, FileStamp> expected[] = {
      {source().folder + "/adapter_config.json", source().config_stamp},
      {source().weights_path, source().weights_stamp}};
  for (const auto& [path, stamp] : expected) {
    WEFT_ASSIGN_OR_RETURN(const FileStamp now, files_.Stat(path));
    if (now != stamp) {
      return MakeError(ErrorCode::kUnavailable,
                       "'{}' changed since the adapter was checked; load it again", path);
    }
  }
  return OkStatus();
}

Status ImageRead::Explain(Status status) const {
  if (status.ok()) return status;
  Status changed = CheckUnchanged();
  return changed.ok() ? status : changed;
}

Result<std::shared_ptr<const OpenedAdapter>> OpenForImage(FileSystem& files,
                                                          const std::string& path,
                                                          const ModelConfig& model,
                                                          const checkpoint::AdapterLimits& limits,
                                                          const ImageFormat& format) {
  WEFT_ASSIGN_OR_RETURN(checkpoint::AdapterFiles adapter,
                        checkpoint::OpenAdapter(files, path, model, limits));
  std::vector<ModuleShape> shapes;
  shapes.reserve(adapter.modules.size());
  for (const checkpoint::AdapterModule& module : adapter.modules) {
    shapes.push_back(ModuleShape{.layer = module.layer,
                                 .projection = module.projection,
                                 .rank = module.rank,
                                 .in = model.InputSize(module.projection),
                                 .out = model.OutputSize(module.projection),
                                 .scaling = module.scaling});
  }
  Result<ImageLayout> layout =
      PackImage(std::move(shapes), format.packer.dtype(), format.page_bytes);
  if (!layout.ok()) return layout.error().WithContext(path);
  auto opened = std::make_shared<OpenedAdapter>();
  opened->path = path;
  opened->layout = *std::move(layout);
  opened->max_rank = adapter.max_rank;
  opened->warnings = adapter.warnings;
  opened->files = std::make_shared<const checkpoint::AdapterFiles>(std::move(adapter));
  return std::shared_ptr<const OpenedAdapter>(std::move(opened));
}

}  // namespace weft::adapter
