#include "ops/cuda/gemm_choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace weft::ops::cuda {
namespace {

const GemmMachine kMachine = {"NVIDIA H200 (a)", 130100};

GemmChoices SomeChoices() {
  GemmChoices choices;
  for (int32_t rows = 1; rows <= 64; rows *= 2) {
    GemmShape shape;
    shape.out_dtype = rows % 4 == 0 ? DType::kFloat32 : DType::kBFloat16;
    shape.add = rows > 8;
    shape.rows = rows;
    shape.out = 6144;
    shape.in = 4096;
    shape.h_stride = int64_t{1} << 40;
    shape.d_stride = 6144;
    for (uint64_t word = 0; word < 8; ++word)
      choices[shape][word] = word * 0x1234567890abcdef * static_cast<uint64_t>(rows);
  }
  return choices;
}

TEST(GemmChoices, AreReadAsTheyWereWritten) {
  const auto parsed = ParseGemmChoices(FormatGemmChoices(kMachine, SomeChoices()), kMachine);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed.value(), SomeChoices());
  EXPECT_TRUE(ParseGemmChoices(FormatGemmChoices(kMachine, {}), kMachine).value().empty());
}

TEST(GemmChoices, OfAnotherMachineAreRefused) {
  const std::string text = FormatGemmChoices(kMachine, SomeChoices());
  for (const GemmMachine& other :
       {GemmMachine{"NVIDIA H100", 130100}, GemmMachine{kMachine.gpu, 130101}}) {
    const auto parsed = ParseGemmChoices(text, other);
    ASSERT_FALSE(parsed.ok());
    EXPECT_THAT(parsed.error().message, ::testing::HasSubstr(other.gpu));
    EXPECT_NE(other.FileName(), kMachine.FileName());
  }
}

TEST(GemmChoices, CutAnywhereAreRefused) {
  const std::string text = FormatGemmChoices(kMachine, SomeChoices());
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(ParseGemmChoices(text.substr(0, length), kMachine).ok()) << length;
}

TEST(GemmChoices, WithALineThatIsNotTheirsAreRefused) {
  const std::string text = FormatGemmChoices(kMachine, SomeChoices());
  const size_t line = text.find("\n1 1 0 1 ");  // Of one row.
  ASSERT_NE(line, std::string::npos);
  for (const char* wrong : {"x", "9 ", "1 1 0 1 ", "\n", "-"}) {
    std::string changed = text;
    changed.insert(line + 1, wrong);
    EXPECT_FALSE(ParseGemmChoices(changed, kMachine).ok()) << wrong;
  }
  EXPECT_FALSE(ParseGemmChoices(text + "more\n", kMachine).ok());
}

TEST(GemmChoices, FilesAreMadeWithTheirFolderAndMissingOnesAreEmpty) {
  const std::string folder = ::testing::TempDir() + "gemm_choices_test";
  std::filesystem::remove_all(folder);
  const std::string path = folder + "/deep/" + kMachine.FileName();
  EXPECT_TRUE(ReadGemmChoices(path, kMachine).value().empty());
  ASSERT_TRUE(WriteGemmChoices(path, kMachine, SomeChoices()).ok());
  EXPECT_EQ(ReadGemmChoices(path, kMachine).value(), SomeChoices());
  const auto foreign = ReadGemmChoices(path, {"other", 1});
  ASSERT_FALSE(foreign.ok());
  EXPECT_THAT(foreign.error().message, ::testing::HasSubstr(path));
  EXPECT_FALSE(WriteGemmChoices("/dev/null/x/file", kMachine, {}).ok());
}

}  // namespace
}  // namespace weft::ops::cuda
