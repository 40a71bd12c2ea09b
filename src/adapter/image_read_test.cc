#include "adapter/image_read.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "adapter/memory_files_for_test.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/model_files.h"

namespace weft::adapter {
namespace {

using checkpoint::StoredType;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Bytes kPage = 8192;

/// Lets everything pass, and counts.
class CountingMonitor final : public ReadMonitor {
 public:
  Status BeforePiece(Bytes bytes) override {
    largest = std::max(largest, bytes);
    total += bytes;
    ++pieces;
    return allowed-- > 0 ? OkStatus() : Status(MakeError(ErrorCode::kCancelled, "enough"));
  }
  void Done(LoadSpan::Kind kind, Moment begin, Moment end, Bytes bytes) override {
    EXPECT_LE(begin, end);
    (kind == LoadSpan::Kind::kRead ? read : converted) += bytes;
  }
  int allowed = 1'000'000;
  int pieces = 0;
  Bytes largest = 0;
  Bytes total = 0;
  Bytes read = 0;
  Bytes converted = 0;
};

class ImageReadTest : public ::testing::Test {
 protected:
  std::shared_ptr<const OpenedAdapter> Open(const ImageFormat& format) {
    auto opened = OpenForImage(files_, "/a", model_, {}, format);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return *opened;
  }
  /// Everything from Begin to Finish.
  Status ReadAll(const ImageFormat& format, const std::shared_ptr<const OpenedAdapter>& opened,
                 TestPages& pages) {
    auto image = ImageRead::Begin(files_, format, clock_, opened, pages.addresses());
    if (!image.ok()) return image.error();
    for (const LayerIndex layer : (*image)->layers()) {
      WEFT_RETURN_IF_ERROR((*image)->ReadLayer(layer, staging_, monitor_));
    }
    return (*image)->Finish();
  }
  Status ReadAll(DType dtype = DType::kBFloat16) {
    const PlainPacker packer(dtype);
    const ImageFormat format{packer, kPage};
    const auto opened = Open(format);
    TestPages pages(opened->layout.pages, kPage);
    return ReadAll(format, opened, pages);
  }

  const ModelConfig model_ = SmallModel();
  const std::string weights_ = "/a/adapter_model.safetensors";
  const SteadyClock clock_;
  MemoryFiles files_;
  ReadStaging staging_;
  CountingMonitor monitor_;
};

/// Each element of each tile against the matrices, and zeros where nothing belongs.
void ExpectImage(const ImageLayout& layout, const PlainPacker& packer, const TestPages& pages,
                 AdapterFolder& folder) {
  for (const TilePlacement& tile : layout.tiles) {
    const ModuleShape& shape = layout.modules[static_cast<size_t>(tile.module)];
    const auto& a = folder.Matrix(shape.layer.value(), shape.projection, 'A');
    const auto& b = folder.Matrix(shape.layer.value(), shape.projection, 'B');
    for (int32_t i = 0; i < tile.width; ++i) {
      const int32_t rank = tile.first_rank + i;
      const bool real = rank < shape.rank;
      for (int32_t in = 0; in < shape.in; ++in) {
        const float expected = real ? a[static_cast<size_t>(rank * shape.in + in)] : 0.0F;
        ASSERT_EQ(packer.Get(pages.At(tile.a), static_cast<size_t>(i * shape.in + in)), expected);
      }
      for (int32_t out = 0; out < shape.out; ++out) {
        const float expected = real ? b[static_cast<size_t>(out * shape.rank + rank)] : 0.0F;
        ASSERT_EQ(packer.Get(pages.At(tile.b), static_cast<size_t>(out * tile.width + i)),
                  expected);
      }
    }
  }
  for (const EmptySpan& span : EmptySpans(layout, packer.dtype(), kPage)) {
    const std::byte* begin = pages.At(span.begin);
    ASSERT_TRUE(
        std::all_of(begin, begin + span.bytes, [](std::byte b) { return b == std::byte{}; }));
  }
}

TEST_F(ImageReadTest, EveryTypeOfFileBecomesTheSameImage) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
    for (const StoredType type : {StoredType::kF32, StoredType::kF16, StoredType::kBF16}) {
      for (const int32_t rank : {1, 3, 16, 40}) {
        AdapterFolder folder(model_, rank, type, 9);
        folder.WriteTo(files_, "/a");
        const PlainPacker packer(dtype);
        const ImageFormat format{.packer = packer, .page_bytes = kPage, .piece_bytes = 5000};
        const auto opened = Open(format);
        EXPECT_EQ(opened->max_rank, rank);
        TestPages pages(opened->layout.pages, kPage);
        const Status status = ReadAll(format, opened, pages);
        ASSERT_TRUE(status.ok()) << status.error().message;
        ExpectImage(opened->layout, packer, pages, folder);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(ImageReadTest, ReadsInPiecesAndEachByteOnce) {
  AdapterFolder(model_, 16, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  // The largest matrix is 96 x 16 x 4 bytes.
  const ImageFormat format{.packer = packer, .page_bytes = kPage, .piece_bytes = 7000};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  ASSERT_TRUE(ReadAll(format, opened, pages).ok());
  EXPECT_LE(monitor_.largest, 7000);
  EXPECT_EQ(monitor_.total, 2 * opened->layout.used_bytes);
  EXPECT_EQ(monitor_.read, monitor_.total);
  EXPECT_EQ(monitor_.converted, monitor_.total);
  EXPECT_GT(monitor_.pieces, 4 * 4);
}

TEST_F(ImageReadTest, AMatrixLargerThanAPieceIsReadAtOnce) {
  AdapterFolder folder(model_, 16, StoredType::kF32, 1);
  folder.WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const ImageFormat format{.packer = packer, .page_bytes = kPage, .piece_bytes = 1};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  ASSERT_TRUE(ReadAll(format, opened, pages).ok());
  EXPECT_EQ(monitor_.pieces, 4 * 7 * 2);
  ExpectImage(opened->layout, packer, pages, folder);
}

TEST_F(ImageReadTest, WhatIsNotANumberIsNamed) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    AdapterFolder folder(model_, 3, StoredType::kF32, 1);
    folder.Matrix(2, Projection::kUp, 'B')[100] = bad;
    folder.WriteTo(files_, "/a");
    const Status status = ReadAll();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.error().message,
                AllOf(HasSubstr("layers.2.mlp.up_proj.lora_B"), HasSubstr("element 100")));
  }
}

TEST_F(ImageReadTest, WhatBFloat16CannotHoldIsAnErrorThereOnly) {
  for (const size_t index : {5U, 1000U, 1500U}) {
    AdapterFolder folder(model_, 16, StoredType::kF32, 1);
    folder.Matrix(1, Projection::kDown, 'A')[index] = -3.4e38F;
    folder.WriteTo(files_, "/a");
    const Status status = ReadAll(DType::kBFloat16);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message,
                AllOf(HasSubstr("layers.1.mlp.down_proj.lora_A"),
                      HasSubstr("element " + std::to_string(index)), HasSubstr("--dtype float32")));
    EXPECT_TRUE(ReadAll(DType::kFloat32).ok());
  }
  AdapterFolder folder(model_, 16, StoredType::kF32, 1);
  folder.Matrix(1, Projection::kDown, 'A')[5] = 3.38953e38F;  // The largest bfloat16.
  folder.WriteTo(files_, "/a");
  EXPECT_TRUE(ReadAll(DType::kBFloat16).ok());
}

TEST_F(ImageReadTest, AnErrorOfTheMonitorEndsTheLayer) {
  AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
  monitor_.allowed = 2;
  EXPECT_EQ(ReadAll().error().code, ErrorCode::kCancelled);
  EXPECT_EQ(monitor_.pieces, 3);
}

TEST_F(ImageReadTest, FilesThatChangedSinceTheyWereOpenedAreRefused) {
  for (const char* name : {"/a/adapter_config.json", "/a/adapter_model.safetensors"}) {
    AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
    const PlainPacker packer(DType::kBFloat16);
    const ImageFormat format{packer, kPage};
    const auto opened = Open(format);
    files_.Touch(name);
    TestPages pages(opened->layout.pages, kPage);
    const Status status = ReadAll(format, opened, pages);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(status.error().message, AllOf(HasSubstr(name), HasSubstr("load it again")));
    // Nothing was written.
    EXPECT_EQ(pages.memory()[0][0], std::byte{0xFF});
    EXPECT_TRUE(ReadAll(format, Open(format), pages).ok());
  }
}

TEST_F(ImageReadTest, FilesThatChangeWhileTheyAreReadAreRefused) {
  AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const ImageFormat format{packer, kPage};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  int reads = 0;
  files_.OnRead([&](const std::string&, Bytes) {
    if (++reads == 3) files_.Touch(weights_);
  });
  EXPECT_EQ(ReadAll(format, opened, pages).error().code, ErrorCode::kUnavailable);
}

TEST_F(ImageReadTest, AFileCutShortIsAnErrorAndSaysWhy) {
  AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const ImageFormat format{packer, kPage};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  files_.FreezeSize(weights_);
  files_.Cut(weights_, 20'000, /*stamp=*/false);
  const Status unnoticed = ReadAll(format, opened, pages);
  ASSERT_FALSE(unnoticed.ok());
  EXPECT_EQ(unnoticed.error().code, ErrorCode::kIo);
  EXPECT_THAT(unnoticed.error().message, HasSubstr("cut short"));
}

TEST_F(ImageReadTest, AFileCutWhileItIsReadHasChanged) {
  AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const ImageFormat format{packer, kPage};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  int reads = 0;
  files_.OnRead([&](const std::string&, Bytes) {
    if (++reads == 2) files_.Cut(weights_, 20'000, /*stamp=*/true);
  });
  EXPECT_EQ(ReadAll(format, opened, pages).error().code, ErrorCode::kUnavailable);
}

TEST_F(ImageReadTest, AFileThatIsGoneIsNotFound) {
  AdapterFolder(model_, 8, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kBFloat16);
  const ImageFormat format{packer, kPage};
  const auto opened = Open(format);
  TestPages pages(opened->layout.pages, kPage);
  files_.Remove(weights_);
  const Status status = ReadAll(format, opened, pages);
  EXPECT_EQ(status.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(status.error().message, HasSubstr(weights_));
}

TEST_F(ImageReadTest, ATileThatNoPageHoldsIsRefusedWhenItIsOpened) {
  AdapterFolder(model_, 16, StoredType::kF32, 1).WriteTo(files_, "/a");
  const PlainPacker packer(DType::kFloat32);
  const auto opened = OpenForImage(files_, "/a", model_, {}, ImageFormat{packer, 4096});
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, AllOf(HasSubstr("/a: layer 0"), HasSubstr("larger page")));
}

/// Against checkpoint's own reading of what PEFT wrote.
TEST(ImageReadReference, ReadsWhatPeftWrote) {
  const std::string data = SourceFolder() + "/tests/data";
  FileSystem& files = LocalFiles();
  const SteadyClock clock;
  int read = 0;
  const auto names = files.ListFolders(data + "/adapters");
  ASSERT_TRUE(names.ok());
  for (const std::string& name : *names) {
    SCOPED_TRACE(name);
    const std::string path = data + "/adapters/" + name;
    const std::string expected = *files.ReadText(path + "/expected.json");
    const size_t at = expected.find(R"("base_model": ")") + 15;
    const std::string base = expected.substr(at, expected.find('"', at) - at);
    const auto model = checkpoint::OpenModelConfigOnly(files, data + "/models/" + base);
    ASSERT_TRUE(model.ok()) << model.error().message;
    const PlainPacker packer(DType::kFloat32);
    const Bytes page = (LargestTile(model->config, DType::kFloat32) + 63) / 64 * 64 + 640;
    const ImageFormat format{packer, page};
    const auto opened = OpenForImage(files, path, model->config, {}, format);
    ASSERT_TRUE(opened.ok()) << opened.error().message;

    TestPages pages((*opened)->layout.pages, page);
    auto image = ImageRead::Begin(files, format, clock, *opened, pages.addresses());
    ASSERT_TRUE(image.ok());
    ReadStaging staging;
    CountingMonitor monitor;
    for (const LayerIndex layer : (*image)->layers()) {
      ASSERT_TRUE((*image)->ReadLayer(layer, staging, monitor).ok());
    }
    ASSERT_TRUE((*image)->Finish().ok());

    const auto source = checkpoint::OpenAdapter(files, path, model->config, {});
    const auto file = files.Open(source->weights_path);
    std::vector<float> a;
    std::vector<float> b;
    for (const TilePlacement& tile : (*opened)->layout.tiles) {
      const checkpoint::AdapterModule& module = source->modules[static_cast<size_t>(tile.module)];
      a.resize(static_cast<size_t>(module.a.rows * module.a.columns));
      b.resize(static_cast<size_t>(module.b.rows * module.b.columns));
      ASSERT_TRUE(checkpoint::ReadModule(**file, module, a, b).ok());
      const int32_t ranks = std::min(tile.width, module.rank - tile.first_rank);
      for (int64_t i = 0; i < ranks * module.a.columns; ++i) {
        ASSERT_EQ(packer.Get(pages.At(tile.a), static_cast<size_t>(i)),
                  a[static_cast<size_t>(tile.first_rank * module.a.columns + i)]);
      }
      for (int64_t out = 0; out < module.b.rows; ++out) {
        for (int64_t i = 0; i < ranks; ++i) {
          ASSERT_EQ(packer.Get(pages.At(tile.b), static_cast<size_t>(out * tile.width + i)),
                    b[static_cast<size_t>(out * module.rank + tile.first_rank + i)]);
        }
      }
    }
    ++read;
  }
  EXPECT_GE(read, 20);
}

}  // namespace
}  // namespace weft::adapter
