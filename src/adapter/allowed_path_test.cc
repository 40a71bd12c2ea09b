#include "adapter/allowed_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace weft::adapter {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class AllowedPathTest : public ::testing::Test {
 protected:
  AllowedPathTest()
      : top_(fs::canonical(::testing::TempDir()) / ("allowed_path_" + std::to_string(::getpid()))) {
    fs::create_directories(top_ / "root/a");
    fs::create_directories(top_ / "root/blobs");
    fs::create_directories(top_ / "root-2/b");
    for (const char* file : {"root/blobs/1", "root-2/b/adapter_config.json"}) {
      std::ofstream(top_ / file) << "{}";
    }
  }
  ~AllowedPathTest() override { fs::remove_all(top_); }

  Result<std::string> Resolve(const std::string& path) {
    return ResolveAdapterFolder(LocalFiles(), top_ / path, top_ / "root");
  }

  const fs::path top_;
};

TEST_F(AllowedPathTest, AFolderUnderTheRootIsTaken) {
  EXPECT_EQ(*Resolve("root/a"), (top_ / "root/a").string());
  EXPECT_EQ(*Resolve("root/blobs/../a"), (top_ / "root/a").string());
}

TEST_F(AllowedPathTest, DotsAndLinksThatLeadOutAreRefused) {
  EXPECT_EQ(Resolve("root/../root-2/b").error().code, ErrorCode::kInvalidArgument);
  fs::create_directory_symlink(top_ / "root-2/b", top_ / "root/link");
  const auto refused = Resolve("root/link");
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("root-2/b"));
}

TEST_F(AllowedPathTest, AFileThatLinksOutIsRefusedAndOneThatLinksToABlobIsNot) {
  fs::create_symlink(top_ / "root/blobs/1", top_ / "root/a/adapter_config.json");
  EXPECT_TRUE(Resolve("root/a").ok());
  fs::create_symlink(top_ / "root-2/b/adapter_config.json",
                     top_ / "root/a/adapter_model.safetensors");
  EXPECT_FALSE(Resolve("root/a").ok());
}

TEST_F(AllowedPathTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(Resolve("root/none").error().code, ErrorCode::kNotFound);
}

TEST_F(AllowedPathTest, WithoutARootEverythingIsAllowed) {
  EXPECT_EQ(*ResolveAdapterFolder(LocalFiles(), "anywhere/../x", ""), "anywhere/../x");
}

}  // namespace
}  // namespace weft::adapter
