#include "cli/inspect_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>

#include "base/source_folder_for_test.h"

namespace weft::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kData = SourceFolder() + "/tests/data";
const std::string kModel = kData + "/models/llama";
const std::string kAdapter = kData + "/adapters/r8";
const std::string kRefused = kData + "/adapters-refused/dora";

class InspectCommand : public ::testing::Test {
 protected:
  InspectCommand() : folder_(::testing::TempDir() + "inspect_command_test") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/empty");
  }
  ~InspectCommand() override { std::filesystem::remove_all(folder_); }

  int Inspect(std::vector<std::string> arguments) {
    CLI::App weft;
    int exit_code = -1;
    RegisterInspectCommand(weft, exit_code);
    arguments.insert(arguments.begin(), "inspect");
    std::reverse(arguments.begin(), arguments.end());
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    try {
      weft.parse(arguments);
    } catch (const CLI::ParseError&) {
      exit_code = 2;
    }
    output_ = ::testing::internal::GetCapturedStdout();
    errors_ = ::testing::internal::GetCapturedStderr();
    return exit_code;
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }

  const std::string folder_;
  std::string output_, errors_;
};

TEST_F(InspectCommand, ExitCodeSaysWhetherAllWouldLoad) {
  EXPECT_EQ(Inspect({kModel, kAdapter, "--model-path", kModel}), 0);
  EXPECT_EQ(Inspect({kModel, kRefused, kAdapter}), 1);
  EXPECT_THAT(errors_, IsEmpty());
}

TEST_F(InspectCommand, AnAdapterWithoutItsBaseModelIsNotKnownToFail) {
  EXPECT_EQ(Inspect({kAdapter}), 0);
  EXPECT_THAT(output_, HasSubstr("would load:      not known without its base model; name that "
                                 "with --model-path\n"));
}

TEST_F(InspectCommand, WrongFlagsAreNamedWithTwo) {
  EXPECT_EQ(Inspect({}), 2);
  EXPECT_THAT(errors_, HasSubstr("PATH is missing"));
  EXPECT_EQ(Inspect({"--lora-target-modules", "q_proj", kModel}), 2);
  EXPECT_THAT(errors_, HasSubstr("before --lora-target-modules"));
  EXPECT_EQ(Inspect({kAdapter, "--lora-target-modules", "qproj"}), 2);
  EXPECT_THAT(errors_, HasSubstr("--lora-target-modules 'qproj': not a projection"));
  EXPECT_EQ(Inspect({kAdapter, "--model-path", "/nowhere"}), 2);
  EXPECT_THAT(errors_, HasSubstr("--model-path: '/nowhere' does not exist"));
  EXPECT_EQ(Inspect({kAdapter, "--dtype", "int8"}), 2);
  EXPECT_EQ(Inspect({kAdapter, "--max-lora-rank", "0"}), 2);
}

TEST_F(InspectCommand, FlagsOfServingChangeTheVerdict) {
  EXPECT_EQ(Inspect({kAdapter, "--model-path", kModel, "--max-lora-rank", "4"}), 1);
  EXPECT_THAT(output_, HasSubstr("--max-lora-rank 8"));
  EXPECT_EQ(Inspect({kAdapter, "--model-path", kModel, "--lora-target-modules", "q_proj"}), 1);
  EXPECT_THAT(output_, HasSubstr("add it to --lora-target-modules"));
  EXPECT_EQ(Inspect({kModel, "--dtype", "float32"}), 0);
  EXPECT_THAT(output_, AllOf(HasSubstr("float32"), HasSubstr("8 KiB")));
}

TEST_F(InspectCommand, KindIsKnownByWhatIsThere) {
  for (const auto& [path, kind] : {std::pair(kModel, "model"),
                                   {kData + "/gguf/llama.gguf", "model"},
                                   {kAdapter, "adapter"},
                                   {kData + "/adapters-refused/config-is-missing", "adapter"},
                                   {kData + "/adapters-refused/pickle-only", "adapter"}}) {
    Inspect({path});
    EXPECT_THAT(output_, ::testing::ContainsRegex(std::string("kind: +") + kind + "\n")) << path;
  }
}

TEST_F(InspectCommand, WhatIsNeitherIsToldWhatIsWanted) {
  const std::string file = Write("notes.txt", "");
  for (const std::string& path : {folder_ + "/empty", file, std::string("/dev/null")}) {
    EXPECT_EQ(Inspect({path}), 1);
    EXPECT_THAT(output_, AllOf(HasSubstr("would load:  no: '" + path + "' "), HasSubstr("name")));
  }
  EXPECT_EQ(Inspect({"/nowhere"}), 1);
  EXPECT_THAT(output_, HasSubstr("'/nowhere' does not exist"));
  EXPECT_EQ(Inspect({Write("empty.gguf", "")}), 1);
  EXPECT_THAT(output_, HasSubstr("cut short or corrupt"));
}

TEST_F(InspectCommand, TextIsLinesOfANameAndAnAlignedValue) {
  Inspect({kModel, kAdapter});
  std::istringstream lines(output_);
  size_t column = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) {
      column = 0;
      continue;
    }
    const size_t value = line.find_first_not_of(' ', line.find(':') + 1);
    ASSERT_NE(value, line.npos) << line;
    if (column == 0) column = value;
    EXPECT_EQ(value, column) << line;
  }
}

TEST_F(InspectCommand, ALineBreakInANameDoesNotMakeALine) {
  std::filesystem::create_directories(folder_ + "/a\nwould load: yes");
  EXPECT_EQ(Inspect({folder_ + "/a\nwould load: yes"}), 1);
  EXPECT_EQ(std::count(output_.begin(), output_.end(), '\n'), 2);
}

TEST_F(InspectCommand, JsonIsAnObjectALine) {
  EXPECT_EQ(Inspect({"--json", kModel, kRefused, kAdapter, "/nowhere"}), 1);
  simdjson::dom::parser parser;
  std::istringstream lines(output_);
  std::vector<std::string> kinds, verdicts;
  for (std::string line; std::getline(lines, line);) {
    simdjson::dom::object object;
    ASSERT_EQ(parser.parse(line).get(object), simdjson::SUCCESS) << line;
    kinds.push_back(simdjson::minify(object["kind"]));
    verdicts.push_back(simdjson::minify(object["would_load"]));
    EXPECT_EQ(simdjson::minify(object["reason"]) != "null", verdicts.back() == "false");
  }
  EXPECT_THAT(kinds, ::testing::ElementsAre("\"model\"", "\"adapter\"", "\"adapter\"", "null"));
  EXPECT_THAT(verdicts, ::testing::ElementsAre("true", "false", "null", "false"));
}

}  // namespace
}  // namespace weft::cli
