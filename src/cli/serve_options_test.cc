#include "cli/serve_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <string>

namespace weft::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

/// What `weft serve ARGUMENTS` says against its flags; empty when nothing.
std::string Complaint(const std::string& arguments) {
  CLI::App app;
  ServeOptions options;
  AddServeFlags(app, options);
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  const Status status = CheckServeOptions(options);
  return status.ok() ? "" : status.error().message;
}

TEST(ServeOptions, AModelIsEnough) { EXPECT_EQ(Complaint("--model-path m"), ""); }

TEST(ServeOptions, AMissingModelIsNamed) {
  EXPECT_THAT(Complaint("--port 1"), HasSubstr("--model-path is missing"));
}

TEST(ServeOptions, AnUnknownFlagIsNamedThoughTheModelIsMissingToo) {
  EXPECT_THAT(Complaint("--modle x"), HasSubstr("--modle"));
}

TEST(ServeOptions, AnAdapterFolderThatIsNoneIsRefusedAtStart) {
  EXPECT_THAT(Complaint("--model-path m --lora-dir /does/not/exist"),
              HasSubstr("--lora-dir '/does/not/exist' is not a folder"));
}

TEST(ServeOptions, ATraceThatCannotBeWrittenIsRefusedAtStart) {
  EXPECT_THAT(Complaint("--model-path m --trace /does/not/exist/trace"),
              HasSubstr("--trace '/does/not/exist/trace' cannot be written"));
}

TEST(ServeOptions, WhatIsNotThereYetIsRefusedByName) {
  EXPECT_THAT(Complaint("--model-path m --device cuda --dtype float32"), HasSubstr("--device cpu"));
  EXPECT_THAT(Complaint("--model-path m --lora-load-policy chased"), HasSubstr("overlapped"));
  EXPECT_THAT(Complaint("--model-path m --lora-eviction-policy cost"), HasSubstr("lru or fifo"));
}

TEST(ServeOptions, FlagsThatContradictOneAnotherAreRefused) {
  EXPECT_THAT(Complaint("--model-path m --enable-lora-overlap-loading --lora-load-policy blocking"),
              HasSubstr("contradicts"));
  EXPECT_THAT(Complaint("--model-path m --kv-memory 1GiB --mem-fraction-static 0.5"),
              HasSubstr("give one of them"));
}

TEST(ServeOptions, ASizeThatIsNoneIsRefusedWithItsFlag) {
  EXPECT_THAT(Complaint("--model-path m --lora-memory 3parsec"), HasSubstr("--lora-memory"));
}

TEST(ServeOptions, AdaptersAreGivenInThreeForms) {
  ServeOptions options;
  options.lora_paths = {"/adapters/poet/", "a=/adapters/b",
                        R"({"lora_name": "c", "lora_path": "/d", "pinned": true})"};
  const auto paths = options.LoraPaths();
  ASSERT_TRUE(paths.ok()) << paths.error().message;
  EXPECT_THAT(*paths, ElementsAre(Field(&LoraPath::name, "poet"), Field(&LoraPath::name, "a"),
                                  Field(&LoraPath::name, "c")));
  EXPECT_EQ((*paths)[1].path, "/adapters/b");
  EXPECT_TRUE((*paths)[2].pinned);
}

TEST(ServeOptions, ANameGivenTwiceIsRefused) {
  ServeOptions options;
  options.lora_paths = {"a=/b", "a=/c"};
  ASSERT_FALSE(options.LoraPaths().ok());
  EXPECT_THAT(options.LoraPaths().error().message, HasSubstr("'a' is given twice"));
}

}  // namespace
}  // namespace weft::cli
