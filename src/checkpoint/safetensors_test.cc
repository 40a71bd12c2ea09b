#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace weft::checkpoint {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view json, Bytes data_bytes = 16) {
  auto header = ParseSafetensorsHeader(json, data_bytes, "x.safetensors");
  EXPECT_FALSE(header.ok()) << json;
  return header.ok() ? "" : header.error().message;
}

/// A file in memory.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string bytes) : bytes_(std::move(bytes)) {}
  Bytes size() const override { return static_cast<Bytes>(bytes_.size()); }
  Status Read(Bytes offset, std::span<std::byte> into) const override {
    if (offset + static_cast<Bytes>(into.size()) > size()) {
      return MakeError(ErrorCode::kIo, "short");
    }
    std::memcpy(into.data(), bytes_.data() + offset, into.size());
    return OkStatus();
  }

 private:
  std::string bytes_;
};

std::string LengthPrefix(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

TEST(Safetensors, ParsesTensorsInOffsetOrder) {
  auto header = ParseSafetensorsHeader(
      R"({"__metadata__": {"format": "pt"},
          "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]},
          "empty": {"dtype": "F32", "shape": [0, 7], "data_offsets": [8, 8]},
          "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
          "scalar": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]}}   )",
      24, "x");
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->metadata.at("format"), "pt");
  ASSERT_EQ(header->tensors.size(), 4u);
  EXPECT_EQ(header->tensors[0].name, "a");
  EXPECT_EQ(header->tensors[1].name, "empty");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_EQ(header->tensors[2].type, StoredType::kBF16);
  EXPECT_EQ(header->tensors[2].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(header->tensors[3].type, std::nullopt);
  EXPECT_EQ(header->tensors[3].dtype, "I64");
}

TEST(Safetensors, AnEmptyFileHasNoTensors) {
  auto header = ParseSafetensorsHeader("{}", 0, "x");
  ASSERT_TRUE(header.ok());
  EXPECT_TRUE(header->tensors.empty());
}

TEST(Safetensors, NamesWhatIsWrong) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("a list, but must be a JSON object"));
  EXPECT_THAT(ErrorOf(R"({"a": 1})"), HasSubstr("not described by an object"));
  EXPECT_THAT(ErrorOf(R"({"a": {"shape": [4], "data_offsets": [0, 16]}})"),
              HasSubstr("'dtype' is missing"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F33", "shape": [4], "data_offsets": [0, 16]}})"),
              HasSubstr("tensor 'a' has the dtype 'F33', which is not supported"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}})"),
              HasSubstr("no 'shape'"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [4.5], "data_offsets": [0, 16]}})"),
              HasSubstr("no 'shape'"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0]}})"),
              HasSubstr("no 'data_offsets'"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}})"),
              HasSubstr("bytes 16 to 0"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}})"),
              HasSubstr("but the data has 16"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}})"),
              HasSubstr("has 16 bytes, but its shape [3] of F32 takes 12"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [4611686018427387904, 4],
                          "data_offsets": [0, 16]}})"),
              HasSubstr("64 bits"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__": {"a": 1}})", 0), HasSubstr("must be a string"));
}

TEST(Safetensors, RefusesHolesOverlapsAndRepeatedNames) {
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                          "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})"),
              HasSubstr("'b' begins at byte 4, inside the one before"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                          "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}})"),
              HasSubstr("hole of 4 bytes"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})"),
              HasSubstr("end at byte 8 of the data, but the file has 16"));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                          "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}})"),
              HasSubstr("'a' is listed twice"));
}

TEST(Safetensors, ReadsTheLengthBeforeTheHeader) {
  const std::string json = R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
  auto header = ReadSafetensorsHeader(MemoryFile(LengthPrefix(json.size()) + json + "1234"), "x");
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->data_offset, static_cast<Bytes>(8 + json.size()));

  const auto error_of = [](std::string bytes, Bytes limit = kMaxSafetensorsHeader) {
    auto parsed = ReadSafetensorsHeader(MemoryFile(std::move(bytes)), "x", limit);
    return parsed.ok() ? "" : parsed.error().message;
  };
  EXPECT_THAT(error_of("short"), HasSubstr("too short"));
  EXPECT_THAT(error_of(LengthPrefix(~0ull)), HasSubstr("at most 100000000"));
  EXPECT_THAT(error_of(LengthPrefix(100) + "{}"), HasSubstr("has only 10"));
  EXPECT_THAT(error_of(LengthPrefix(json.size()) + json + "1234", 10), HasSubstr("at most 10"));
  EXPECT_THAT(error_of(LengthPrefix(json.size()) + json + "123"), HasSubstr("corrupt"));
}

}  // namespace
}  // namespace weft::checkpoint
