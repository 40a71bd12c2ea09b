#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "adapter/load_span.h"
#include "adapter/loading.h"
#include "base/bfloat16.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/result.h"
#include "checkpoint/adapter_reads.h"
#include "checkpoint/peft_adapter.h"
#include "ops/lora.h"

namespace weft::adapter {

/// What images are made of, the same for all adapters of a server. Outlives every ImageRead.
struct ImageFormat {
  const ops::TilePacker& packer;  ///< Its dtype is the image's.
  Bytes page_bytes = 0;
  /// Files are read in pieces of at most this much, or of one matrix if that is larger.
  Bytes piece_bytes = 8 * kMiB;
};

/// Whoever pays for a read: asked before each piece, told after each stretch of work.
class ReadMonitor {
 public:
  virtual ~ReadMonitor() = default;
  /// May wait, to hold a bandwidth. An error ends the layer with that error.
  virtual Status BeforePiece(Bytes bytes) = 0;
  virtual void Done(LoadSpan::Kind kind, Moment begin, Moment end, Bytes bytes) = 0;
};

/// Memory that a thread reuses from layer to layer.
struct ReadStaging {
  std::vector<std::byte> raw;
  std::vector<float> floats;
  std::vector<BFloat16> halves;
};

/// One reading of an adapter's files into an image, layer by layer. Threads may read different
/// layers at once; everything blocks.
class ImageRead {
 public:
  /// Opens the files and checks that they are still those that were opened. `pages` as the layout
  /// counts them.
  static Result<std::unique_ptr<ImageRead>> Begin(FileSystem& files, const ImageFormat& format,
                                                  const Clock& clock,
                                                  std::shared_ptr<const OpenedAdapter> opened,
                                                  std::vector<std::byte*> pages);

  /// The layers that the adapter changes, ascending.
  const std::vector<LayerIndex>& layers() const { return layers_; }
  /// Reads, converts and packs every tile of one layer.
  Status ReadLayer(LayerIndex layer, ReadStaging& staging, ReadMonitor& monitor);
  /// Once, after the last layer: zeroes what the tiles leave empty, and checks once more that the
  /// files are still the same.
  Status Finish();

 private:
  struct Piece;

  ImageRead(FileSystem& files, const ImageFormat& format, const Clock& clock,
            std::shared_ptr<const OpenedAdapter> opened, std::vector<std::byte*> pages);
  const checkpoint::AdapterFiles& source() const {
    return *static_cast<const checkpoint::AdapterFiles*>(opened_->files.get());
  }
  Status ReadPiece(const Piece& piece, ReadStaging& staging, ReadMonitor& monitor);
  Status PackPart(const checkpoint::RangePart& part, std::span<const std::byte> raw,
                  ReadStaging& staging);
  template <typename Element>
  Status PackTiles(const checkpoint::RangePart& part, std::span<const std::byte> raw,
                   std::vector<Element>& staging);
  std::byte* Address(ImageOffset place) const;
  Status CheckUnchanged() const;
  /// An error of files that changed meanwhile is about the change.
  Status Explain(Status status) const;

  FileSystem& files_;
  const ImageFormat& format_;
  const Clock& clock_;
  const std::shared_ptr<const OpenedAdapter> opened_;
  const std::vector<std::byte*> pages_;
  std::unique_ptr<File> file_;
  std::vector<LayerIndex> layers_;
  std::vector<size_t> first_tile_;  ///< By module, and one past the last.
};

/// Reads an adapter's config and header and lays its image out; no weights. Blocks.
Result<std::shared_ptr<const OpenedAdapter>> OpenForImage(FileSystem& files,
                                                          const std::string& path,
                                                          const ModelConfig& model,
                                                          const checkpoint::AdapterLimits& limits,
                                                          const ImageFormat& format);

}  // namespace weft::adapter
