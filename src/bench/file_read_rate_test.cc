#include "bench/file_read_rate.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace weft::bench {
namespace {

const RateRuns kShort = {1, std::chrono::milliseconds(1)};

TEST(FileReadRateTest, AFileOfTheUsersIsReadAndLeftAsItIs) {
  const std::string path = testing::TempDir() + "file_read_rate_test";
  const std::string content(3 << 20, 'x');
  std::ofstream(path) << content;
  const SteadyClock clock;
  const auto rate = MeasureFileRead(path, clock, kShort);
  ASSERT_TRUE(rate.ok()) << rate.error().message;
  EXPECT_EQ(rate->path, path);
  EXPECT_GT(rate->cached, 1e6);
  EXPECT_EQ(std::filesystem::file_size(path), content.size());
  std::filesystem::remove(path);
}

TEST(FileReadRateTest, WhatCannotBeReadIsNamed) {
  const SteadyClock clock;
  const auto missing = MeasureFileRead("/nonexistent/file", clock, kShort);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  EXPECT_NE(missing.error().message.find("/nonexistent/file"), std::string::npos);
  const auto folder = MeasureFileRead("/", clock, kShort);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, ErrorCode::kInvalidArgument);
}

TEST(FileReadRateTest, TheFileItMakesIsGoneAfterwards) {
  const std::string folder = testing::TempDir() + "file_read_rate_folder";
  std::filesystem::create_directories(folder);
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before != nullptr ? before : "";
  setenv("TMPDIR", folder.c_str(), 1);
  const SteadyClock clock;
  const auto rate = MeasureFileRead("", clock, kShort);
  before != nullptr ? setenv("TMPDIR", kept.c_str(), 1) : unsetenv("TMPDIR");
  ASSERT_TRUE(rate.ok()) << rate.error().message;
  EXPECT_GT(rate->cached, 1e6);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove(folder);
}

}  // namespace
}  // namespace weft::bench
