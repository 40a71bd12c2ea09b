#include "cli/bench_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <mutex>

#include "base/file.h"
#include "bench/scripted_server.h"
#include "cli/make_model.h"

namespace weft::cli {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// A byte-level vocabulary of small letters, each a token.
constexpr std::string_view kTokenizer = R"({"version":"1.0","added_tokens":[],"normalizer":null,
"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,
"use_regex":true},"model":{"type":"BPE","dropout":null,"unk_token":null,
"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
"vocab":{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"x":7},"merges":[]}})";

class BenchCommandTest : public ::testing::Test {
 protected:
  BenchCommandTest()
      : server_([this](const std::string& request) { return Answer(request); }),
        folder_(::testing::TempDir() + "bench_command_test") {
    std::filesystem::create_directories(folder_);
    EXPECT_TRUE(WriteTextFile(folder_ + "/tokenizer.json", kTokenizer).ok());
    std::filesystem::remove(Results());
  }

  bench::Script Answer(const std::string& request) {
    if (!request.starts_with("POST")) return {404, {{{}, "none"}}};
    const std::lock_guard lock(mutex_);
    posts_.push_back(request);
    const std::string event =
        "data: {\"text\": \"xx\", \"meta_info\": {\"completion_tokens\": 2}}\n\n";
    return {200, {{{}, event}, {{}, "data: [DONE]\n\n"}}};
  }

  std::string Results() const { return folder_ + "/results.jsonl"; }

  /// What `weft ARGUMENTS` exits with.
  int Weft(std::vector<std::string> arguments) {
    CLI::App weft;
    int exit_code = -1;
    RegisterBenchCommand(weft, exit_code);
    std::reverse(arguments.begin(), arguments.end());
    try {
      weft.parse(arguments);
    } catch (const CLI::ParseError&) {
      return 2;
    }
    return exit_code;
  }

  std::vector<std::string> Flags(std::vector<std::string> more) const {
    std::vector<std::string> flags = {"bench",
                                      "--base-url",
                                      "http://127.0.0.1:" + std::to_string(server_.port()),
                                      "--model",
                                      folder_,
                                      "--dataset-name",
                                      "random-ids",
                                      "--num-prompts",
                                      "3",
                                      "--output-file",
                                      Results(),
                                      "--random-input-len",
                                      "6"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  std::mutex mutex_;
  std::vector<std::string> posts_;
  bench::ScriptedServer server_;
  std::string folder_;
};

TEST_F(BenchCommandTest, RunsWarmsUpAndAppendsALine) {
  ASSERT_EQ(Weft(Flags({"--lora-name", "one", "two", "--seed", "3"})), 0);
  ASSERT_EQ(Weft(Flags({"--backend", "weft"})), 0);
  EXPECT_THAT(posts_, SizeIs(8));
  EXPECT_THAT(posts_[0], HasSubstr(R"("lora_path":"one")"));
  EXPECT_THAT(posts_[7], HasSubstr(R"("lora_path":null)"));
  const std::string lines = *LocalFiles().ReadText(Results());
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_THAT(lines,
              HasSubstr(R"({"tag": null, "backend": "sglang", "dataset_name": "random-ids", )"
                        R"("request_rate": Infinity, "max_concurrency": null)"));
  EXPECT_THAT(lines, HasSubstr(R"("completed": 3)"));
  EXPECT_THAT(lines,
              HasSubstr(R"("total_output_tokens": 6, "total_output_tokens_retokenized": 6)"));
}

TEST_F(BenchCommandTest, WorkloadFillsWhatTheCommandLineLeavesOpen) {
  const std::string workload = folder_ + "/w.toml";
  ASSERT_TRUE(WriteTextFile(workload,
                            "[[adapters]]\nname = 'w'\ncount = 2\n[bench]\nnum-prompts = 9\n"
                            "random-output-len = 1\nlora-request-distribution = 'distinct'\n"
                            "tokenize-prompt = true\nwarmup-requests = 0\nrequest-rate = inf\n")
                  .ok());
  ASSERT_EQ(Weft(Flags({"--workload", workload})), 0);
  ASSERT_THAT(posts_, SizeIs(3));
  EXPECT_THAT(posts_, Each(HasSubstr("\"input_ids\":[")));
  EXPECT_THAT(posts_, Each(HasSubstr("\"max_new_tokens\":1,")));
  EXPECT_THAT(posts_[0] + posts_[1] + posts_[2], HasSubstr("\"lora_path\":\"w-1\""));
  posts_.clear();
  ASSERT_EQ(Weft(Flags({"--workload", workload, "--lora-request-distribution", "uniform",
                        "--lora-name", ""})),
            0);
  EXPECT_THAT(posts_, Each(HasSubstr("\"lora_path\":null")));
  ASSERT_TRUE(WriteTextFile(workload, "[bench]\nnum-promts = 9\n").ok());
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Weft(Flags({"--workload", workload})), 2);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("[bench] num-promts: no such flag of weft bench"));
}

TEST_F(BenchCommandTest, WrongFlagsExitWith2) {
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--backend", "trt"},
           {"--request-rate", "-1"},
           {"--request-rate", "soon"},
           {"--lora-request-body", "{\"one\": 1}"},
           {"--lora-request-distribution", "skewed", "--lora-name", "one"},
           {"--lora-zipf-alpha", "1"},
           {"--backend", "vllm", "--tokenize-prompt"},
           {"--extra-request-body", "[]"},
           {"--header", "novalue"},
           {"--nonsense"}}) {
    EXPECT_EQ(Weft(Flags(flags)), 2) << flags[0];
  }
  EXPECT_EQ(Weft({"bench", "--model", folder_}), 2) << "sharegpt without its file";
  EXPECT_THAT(posts_, SizeIs(0));
}

TEST_F(BenchCommandTest, FailuresExitWith1AndSayWhy) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Weft({"bench", "--base-url", "http://127.0.0.1:1", "--dataset-name", "random"}), 1);
  EXPECT_EQ(Weft({"bench", "--base-url", "http://127.0.0.1:1", "--dataset-name", "random",
                  "--model", "/nowhere"}),
            1);
  EXPECT_EQ(Weft({"bench", "--base-url", "http://127.0.0.1:1", "--dataset-name", "random",
                  "--model", folder_}),
            1);
  const std::string errors = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(errors,
              HasSubstr("weft bench: no server answers at http://127.0.0.1:1 (Connection "
                        "refused); start one with `weft serve`, or name it with --base-url"));
  EXPECT_THAT(errors, HasSubstr("no tokenizer at '/nowhere'"));
}

}  // namespace
}  // namespace weft::cli
