// Block types against gguf-py, bit by bit: tests/reference/make_gguf.py made the blocks.
#include "checkpoint/dequantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/gguf.h"
#include "checkpoint/stored_reads.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

class Blocks : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = SourceFolder() + "/tests/data/gguf/blocks.gguf";
    auto file = LocalFiles().Open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    file_ = std::move(*file);
    auto header = ReadGgufHeader(*file_, path);
    ASSERT_TRUE(header.ok()) << header.error().message;
    header_ = std::move(*header);
  }

  const GgufTensor* Find(const std::string& name) const {
    for (const GgufTensor& tensor : header_.tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }

  std::vector<float> Read(const GgufTensor& tensor) const {
    std::vector<float> values(static_cast<size_t>(tensor.shape[0] * tensor.shape[1]));
    EXPECT_TRUE(ReadStored(*file_, tensor.type, tensor.offset, values).ok());
    return values;
  }

  std::unique_ptr<File> file_;
  GgufHeader header_;
};

TEST_F(Blocks, EveryTypeIsBitEqualToGgufPy) {
  int types = 0;
  for (const std::string_view name : StoredTypeNames()) {
    SCOPED_TRACE(name);
    const GgufTensor* tensor = Find(std::string(name));
    const GgufTensor* golden = Find(std::string(name) + ".float32");
    if (!name.starts_with("Q")) continue;
    ASSERT_TRUE(tensor != nullptr && golden != nullptr);
    ASSERT_EQ(StoredTypeName(tensor->type), name);
    ASSERT_EQ(tensor->shape, golden->shape);
    const std::vector<float> values = Read(*tensor);
    const std::vector<float> expected = Read(*golden);
    ASSERT_EQ(values.size(), static_cast<size_t>(8 * BlockOf(tensor->type).elements));
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i]))
          << "element " << i << ": " << values[i] << " for " << expected[i];
    }
    ++types;
  }
  EXPECT_EQ(types, 10);
}

TEST_F(Blocks, EveryRowIsReadByItself) {
  for (const GgufTensor& tensor : header_.tensors) {
    SCOPED_TRACE(tensor.name);
    const std::vector<float> whole = Read(tensor);
    const auto columns = static_cast<size_t>(tensor.shape[1]);
    for (size_t row = 0; row < whole.size() / columns; ++row) {
      std::vector<float> part(columns);
      const Bytes before = StoredBytes(tensor.type, static_cast<int64_t>(row * columns));
      ASSERT_TRUE(ReadStored(*file_, tensor.type, tensor.offset + before, part).ok());
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + row * columns)) << row;
    }
  }
}

}  // namespace
}  // namespace weft::checkpoint
