#include "bench/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/source_folder_for_test.h"

namespace weft::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(WorkloadTest, FlagsAndAdapterNames) {
  const auto workload = ParseWorkload(R"(
name = "X"
[[adapters]]
name = "a"
count = 2
rank = 16
[[adapters]]
name = "b"
count = 1
[serve]
max-loras-per-batch = 8
[bench]
flush-cache = true
num-prompts = 100
request-rate = inf
lora-name = ["x", "y"]
)",
                                      "x.toml");
  ASSERT_TRUE(workload.ok()) << workload.error().message;
  EXPECT_THAT(workload->bench, ElementsAre(Pair("flush-cache", ElementsAre("true")),
                                           Pair("lora-name", ElementsAre("x", "y")),
                                           Pair("num-prompts", ElementsAre("100")),
                                           Pair("request-rate", ElementsAre("inf"))));
  EXPECT_THAT(workload->AdapterNames(), ElementsAre("a-0", "a-1", "b-0"));
}

TEST(WorkloadTest, ErrorsNameTheFileAndThePlace) {
  EXPECT_THAT(ParseWorkload("a = \n", "x.toml").error().message, HasSubstr("x.toml:1: "));
  EXPECT_THAT(ParseWorkload("name = 'X'", "x.toml").error().message,
              HasSubstr("x.toml: the table [bench] is missing"));
  EXPECT_THAT(ParseWorkload("bensh = 1\n[bench]", "x.toml").error().message,
              HasSubstr("unknown key 'bensh'"));
  EXPECT_THAT(ParseWorkload("[bench]\na = {b = 1}", "x.toml").error().message,
              HasSubstr("[bench] a: must be"));
  EXPECT_THAT(ParseWorkload("[bench]\n[[adapters]]\nname='a'\ncount=0", "x").error().message,
              HasSubstr("a `count` of 1 to"));
}

TEST(WorkloadTest, EveryShippedDefinitionParses) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SourceFolder() + "/benchmarks/workloads")) {
    const auto text = LocalFiles().ReadText(entry.path().string());
    ASSERT_TRUE(text.ok());
    const auto workload = ParseWorkload(*text, entry.path().string());
    EXPECT_TRUE(workload.ok()) << workload.error().message;
    ++files;
  }
  EXPECT_GE(files, 8);
}

}  // namespace
}  // namespace weft::bench
