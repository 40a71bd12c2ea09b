#include "cli/serve_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <string>

namespace weft::cli {
namespace {

using ::testing::AllOf;
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
  Status status = ApplyConfigFile(app, options);
  if (status.ok()) status = CheckServeOptions(options);
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

TEST(ServeOptions, ANumberThatIsNoneOrTooLargeIsToldApart) {
  EXPECT_THAT(Complaint("--model-path m --port http"), HasSubstr("'http' is not a whole number"));
  EXPECT_THAT(Complaint("--model-path m --port 1.5"), HasSubstr("1.5 is not a whole number"));
  EXPECT_THAT(Complaint("--model-path m --port 65536"),
              HasSubstr("65536 is not in the range 0 to 65535"));
  EXPECT_THAT(Complaint("--model-path m --port 1e9"), HasSubstr("1e9 is not in the range"));
  EXPECT_THAT(Complaint("--model-path m --mem-fraction-static most"),
              HasSubstr("'most' is not a number"));
  EXPECT_EQ(Complaint("--model-path m --port 65535 --mem-fraction-static 0.5"), "");
}

/// A file in the tests' own folder that ends with the test.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) { std::ofstream(path_) << text; }
  ~ConfigFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_ = ::testing::TempDir() + "/weft_serve_options_test.toml";
};

ServeOptions Parsed(const std::string& arguments) {
  CLI::App app;
  ServeOptions options;
  AddServeFlags(app, options);
  app.parse(arguments);
  const Status status = ApplyConfigFile(app, options);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return options;
}

TEST(ServeOptions, WhatTheCommandLineLeavesOutComesFromAFile) {
  const ConfigFile file(
      "model-path = 'm'\nport = 30077\nlora-paths = ['a=/a', 'b=/b']\ndeterministic = true\n"
      "lora-turn-patience = 0.5\n");
  const ServeOptions options = Parsed("--port 4 --config " + file.path());
  EXPECT_EQ(options.model_path, "m");
  EXPECT_EQ(options.port, 4);
  EXPECT_THAT(options.lora_paths, ElementsAre("a=/a", "b=/b"));
  EXPECT_TRUE(options.deterministic);
  EXPECT_EQ(options.lora_turn_patience, 0.5);
}

TEST(ServeOptions, AWorkloadIsAFileToo) {
  const ConfigFile file(
      "name = 'W'\n[serve]\nmodel-path = 'm'\nmax-loras-per-batch = 3\n[bench]\nseed = 1\n");
  EXPECT_EQ(Parsed("--config " + file.path()).max_loras_per_batch, 3);
}

TEST(ServeOptions, AFileThatIsWrongIsRefused) {
  EXPECT_THAT(Complaint("--model-path m --config /does/not/exist"),
              AllOf(HasSubstr("--config"), HasSubstr("/does/not/exist")));
  const auto complaint = [](const char* text) {
    const ConfigFile file(text);
    return Complaint("--model-path m --config " + file.path());
  };
  EXPECT_THAT(complaint("prot = 1"), HasSubstr("prot: no such flag"));
  EXPECT_THAT(complaint("config = 'x'"), HasSubstr("config: no such flag"));
  EXPECT_THAT(complaint("port = 'x'"), HasSubstr("--port"));
  EXPECT_THAT(complaint("[serve]\nport = {a = 1}"), HasSubstr("[serve] port: must be"));
  EXPECT_THAT(complaint("port 1"), HasSubstr(".toml:1: "));
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
