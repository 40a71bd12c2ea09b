#include "bench/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::bench {
namespace {

using ::testing::HasSubstr;

DatasetRow TextRow() {
  DatasetRow row;
  row.text = "say \"hi\"\n";
  return row;
}

TEST(BackendTest, NamesPathsAndPortsAreBenchServings) {
  EXPECT_EQ(FindBackend("sglang")->path, "/generate");
  EXPECT_EQ(FindBackend("sglang-oai")->path, "/v1/completions");
  EXPECT_EQ(FindBackend("vllm")->default_port, 8000);
  EXPECT_EQ(FindBackend("vllm-chat")->path, "/v1/chat/completions");
  EXPECT_EQ(FindBackend("weft")->protocol, Protocol::kSglangGenerate);
  EXPECT_EQ(FindBackend("trt").error().message,
            "--backend trt: must be one of sglang, sglang-native, sglang-oai, sglang-oai-chat, "
            "vllm, vllm-chat, weft");
}

TEST(BackendTest, GenerateBody) {
  RequestSettings settings;
  EXPECT_EQ(BuildRequestBody(Protocol::kSglangGenerate, settings, TextRow(), 7, "a"),
            R"({"text":"say \"hi\"\n","sampling_params":{"temperature":0.0,"max_new_tokens":7,)"
            R"("ignore_eos":true},"stream":true,"lora_path":"a","return_logprob":false,)"
            R"("logprob_start_len":-1})");
  DatasetRow ids;
  ids.is_ids = true;
  ids.ids = {1, 2, 3};
  settings.ignore_eos = false;
  const std::string body =
      BuildRequestBody(Protocol::kSglangGenerate, settings, ids, 7, std::nullopt);
  EXPECT_THAT(body, HasSubstr(R"("input_ids":[1,2,3])"));
  EXPECT_THAT(body, HasSubstr(R"("lora_path":null)"));
  EXPECT_THAT(body, HasSubstr(R"("ignore_eos":false)"));
}

TEST(BackendTest, CompletionBodyNamesTheAdapterForBothServers) {
  RequestSettings settings;
  settings.model = "m";
  settings.extra = *ParseJsonMembers(R"({"temperature": 0.5, "top_k": [1, 2], "model": "no"})");
  EXPECT_EQ(BuildRequestBody(Protocol::kOpenAiCompletions, settings, TextRow(), 7, "a"),
            R"({"model":"a","prompt":"say \"hi\"\n","best_of":1,"max_tokens":7,"stream":true,)"
            R"("temperature":0.5,"ignore_eos":true,"top_k":[1,2],"lora_path":"a"})");
}

TEST(BackendTest, ChatBody) {
  RequestSettings settings;
  settings.model = "m";
  settings.stream = false;
  EXPECT_EQ(BuildRequestBody(Protocol::kOpenAiChat, settings, TextRow(), 7, std::nullopt),
            R"({"model":"m","messages":[{"role":"user","content":"say \"hi\"\n"}],)"
            R"("max_completion_tokens":7,"stream":false,"temperature":0.0,"ignore_eos":true})");
}

TEST(BackendTest, AnAdaptersMembersAreMergedLastAndOnlyIntoItsRequests) {
  RequestSettings settings;
  settings.model = "m";
  settings.extra = *ParseJsonMembers(R"({"lora": [], "n": 1})");
  settings.adapter_extra = *ParseAdapterMembers(
      R"({"a": {"lora": [{"id": 3, "scale": 1}]}, "": {"lora": [{"id": 0, "scale": 0}]}})");
  const auto body = [&](const std::optional<std::string>& adapter) {
    return BuildRequestBody(Protocol::kOpenAiCompletions, settings, TextRow(), 7, adapter);
  };
  EXPECT_THAT(body("a"), HasSubstr(R"("lora":[{"id":3,"scale":1}],"n":1)"));
  EXPECT_THAT(body(std::nullopt), HasSubstr(R"("lora":[{"id":0,"scale":0}],"n":1)"));
  EXPECT_THAT(body("b"), HasSubstr(R"("lora":[],"n":1)"));
}

TEST(BackendTest, AdapterBodiesMustBeObjectsInAnObject) {
  EXPECT_THAT(ParseAdapterMembers(R"({"a": [1]})").error().message,
              HasSubstr("each with a JSON object: 'a' has [1]"));
  EXPECT_FALSE(ParseAdapterMembers("[]").ok());
}

TEST(BackendTest, ExtraBodyMustBeAnObject) {
  EXPECT_THAT(ParseJsonMembers("[1]").error().message,
              HasSubstr("--extra-request-body must be a JSON object"));
  EXPECT_FALSE(ParseJsonMembers("{").ok());
}

}  // namespace
}  // namespace weft::bench
