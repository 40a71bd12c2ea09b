#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/generate_request.h"
#include "server/json_reader.h"
#include "server/openai_request.h"

namespace weft::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string TextOf(const Prompt& prompt) { return std::get<std::string>(prompt.source); }
std::vector<TokenId> IdsOf(const Prompt& prompt) {
  return std::get<std::vector<TokenId>>(prompt.source);
}

GenerateRequest Generate(std::string_view body) {
  GenerateRequest request;
  const ApiStatus error = ParseGenerateRequest(*ParseJsonObject(body), request);
  EXPECT_FALSE(error.has_value()) << error->error.message;
  return request;
}

std::string GenerateError(std::string_view body) {
  GenerateRequest request;
  const ApiStatus error = ParseGenerateRequest(*ParseJsonObject(body), request);
  return error ? error->error.message : "";
}

TEST(GenerateRequest, ReadsEveryField) {
  const GenerateRequest request = Generate(R"({"text": "hi", "rid": "r1", "stream": true,
      "lora_path": "a", "return_logprob": true, "logprob_start_len": 2, "top_logprobs_num": 3,
      "return_text_in_logprobs": true, "unknown": [1],
      "sampling_params": {"max_new_tokens": 7, "min_new_tokens": 2, "temperature": 0.5,
        "top_p": 0.9, "top_k": 40, "min_p": 0.1, "frequency_penalty": 0.3,
        "presence_penalty": -0.4, "repetition_penalty": 1.2, "stop": ["x", "y"],
        "stop_token_ids": [5, 6], "ignore_eos": true, "skip_special_tokens": false,
        "seed": 42, "n": 2, "no_stop_trim": true, "logit_bias": {"7": -1.5}}})");
  ASSERT_EQ(request.prompts.size(), 1U);
  const Prompt& prompt = request.prompts[0];
  EXPECT_EQ(TextOf(prompt), "hi");
  EXPECT_EQ(prompt.client_id, "r1");
  EXPECT_EQ(prompt.adapter, "a");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.as_list);  // n > 1
  EXPECT_TRUE(request.text_in_logprobs);
  EXPECT_TRUE(prompt.want_logprobs);
  EXPECT_EQ(prompt.prompt_logprobs_from, 2);
  EXPECT_EQ(prompt.top_logprobs, 3);
  const SamplingFields& sampling = prompt.sampling;
  EXPECT_EQ(sampling.max_new_tokens, 7);
  EXPECT_EQ(sampling.min_new_tokens, 2);
  EXPECT_FLOAT_EQ(sampling.params.temperature, 0.5F);
  EXPECT_FLOAT_EQ(sampling.params.top_p, 0.9F);
  EXPECT_EQ(sampling.params.top_k, 40);
  EXPECT_FLOAT_EQ(sampling.params.min_p, 0.1F);
  EXPECT_FLOAT_EQ(sampling.params.frequency_penalty, 0.3F);
  EXPECT_FLOAT_EQ(sampling.params.presence_penalty, -0.4F);
  EXPECT_FLOAT_EQ(sampling.params.repetition_penalty, 1.2F);
  EXPECT_THAT(sampling.stop, ElementsAre("x", "y"));
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(5, 6));
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_FALSE(sampling.skip_special_tokens);
  EXPECT_TRUE(sampling.include_stop);
  EXPECT_TRUE(sampling.has_seed);
  EXPECT_EQ(sampling.params.seed, 42U);
  EXPECT_EQ(sampling.n, 2);
  EXPECT_THAT(sampling.params.logit_bias, ElementsAre(std::pair(7, -1.5F)));
}

TEST(GenerateRequest, DefaultsAreSglangs) {
  const GenerateRequest request = Generate(R"({"input_ids": [1, 2]})");
  const Prompt& prompt = request.prompts.at(0);
  EXPECT_THAT(IdsOf(prompt), ElementsAre(1, 2));
  EXPECT_EQ(prompt.sampling.max_new_tokens, 128);
  EXPECT_FLOAT_EQ(prompt.sampling.params.temperature, 1.0F);
  EXPECT_EQ(prompt.adapter, "");
  EXPECT_FALSE(prompt.want_logprobs);
  EXPECT_FALSE(prompt.sampling.has_seed);
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.as_list);
  EXPECT_EQ(request.rids.at(0).size(), 32U);
}

TEST(GenerateRequest, BatchesTakeListsOrOneForAll) {
  const GenerateRequest request = Generate(R"({"input_ids": [[1], [2, 3]],
      "lora_path": ["a", null], "sampling_params": [{"max_new_tokens": 1}, {"temperature": 0}],
      "rid": "r", "return_logprob": [false, true]})");
  ASSERT_EQ(request.prompts.size(), 2U);
  EXPECT_TRUE(request.as_list);
  EXPECT_EQ(request.prompts[0].adapter, "a");
  EXPECT_EQ(request.prompts[1].adapter, "");
  EXPECT_EQ(request.prompts[0].sampling.max_new_tokens, 1);
  EXPECT_EQ(request.prompts[1].sampling.max_new_tokens, 128);
  EXPECT_FLOAT_EQ(request.prompts[1].sampling.params.temperature, 0.0F);
  EXPECT_FALSE(request.prompts[0].want_logprobs);
  EXPECT_TRUE(request.prompts[1].want_logprobs);
  EXPECT_THAT(request.rids, ElementsAre("r_0", "r_1"));
  EXPECT_EQ(request.prompts[1].client_id, "r");
  EXPECT_TRUE(Generate(R"({"text": ["one"]})").as_list);
}

TEST(GenerateRequest, ErrorsNameTheField) {
  EXPECT_THAT(GenerateError("{}"), HasSubstr("text or input_ids"));
  EXPECT_THAT(GenerateError(R"({"text": "a", "input_ids": [1]})"), HasSubstr("not both"));
  EXPECT_THAT(GenerateError(R"({"text": 5})"), HasSubstr("text must be a string"));
  EXPECT_THAT(GenerateError(R"({"text": ["a", 1]})"), HasSubstr("text must be a string"));
  EXPECT_THAT(GenerateError(R"({"text": []})"), HasSubstr("text must not be empty"));
  EXPECT_THAT(GenerateError(R"({"input_ids": [1, "a"]})"), HasSubstr("input_ids must be a list"));
  EXPECT_THAT(GenerateError(R"({"input_ids": [[1], 2]})"), HasSubstr("input_ids must be a list"));
  EXPECT_THAT(GenerateError(R"({"input_ids": [-1]})"), HasSubstr("input_ids must be a list"));
  EXPECT_THAT(GenerateError(R"({"text": "a", "sampling_params": 1})"),
              HasSubstr("sampling_params must be an object"));
  EXPECT_THAT(GenerateError(R"({"text": "a", "sampling_params": {"top_p": "x"}})"),
              HasSubstr("sampling_params.top_p must be a number, it is a string"));
  EXPECT_THAT(GenerateError(R"({"text": ["a", "b"], "lora_path": ["x"]})"),
              HasSubstr("lora_path has 1 entries for 2 prompts"));
  EXPECT_THAT(GenerateError(R"({"text": "a", "lora_path": ["x"]})"),
              HasSubstr("lora_path is a list"));
  EXPECT_THAT(GenerateError(R"({"text": ["a","b"], "sampling_params": [{"n": 1}, {"n": 2}]})"),
              HasSubstr("the same for all prompts"));
  EXPECT_THAT(GenerateError(R"({"text": "a", "image_data": "x.png"})"),
              HasSubstr("image_data is not supported"));
}

TEST(GenerateRequest, RangesAreChecked) {
  const auto error = [](const std::string& params) {
    return GenerateError(R"({"text": "a", "sampling_params": {)" + params + "}}");
  };
  EXPECT_THAT(error(R"("temperature": -0.1)"), HasSubstr("temperature must be in [0"));
  EXPECT_THAT(error(R"("top_p": 0)"), HasSubstr("top_p must be in (0, 1]"));
  EXPECT_THAT(error(R"("top_p": 1.1)"), HasSubstr("top_p"));
  EXPECT_THAT(error(R"("min_p": 2)"), HasSubstr("min_p"));
  EXPECT_THAT(error(R"("top_k": -2)"), HasSubstr("top_k"));
  EXPECT_THAT(error(R"("frequency_penalty": 3)"), HasSubstr("frequency_penalty"));
  EXPECT_THAT(error(R"("presence_penalty": -3)"), HasSubstr("presence_penalty"));
  EXPECT_THAT(error(R"("repetition_penalty": 0)"), HasSubstr("repetition_penalty"));
  EXPECT_THAT(error(R"("max_new_tokens": -1)"), HasSubstr("max_new_tokens"));
  EXPECT_THAT(error(R"("max_new_tokens": 1, "min_new_tokens": 2)"), HasSubstr("min_new_tokens"));
  EXPECT_THAT(error(R"("n": 0)"), HasSubstr("n must be in [1, 128]"));
  EXPECT_THAT(error(R"("stop": [1])"), HasSubstr("stop must be a string or a list of strings"));
  EXPECT_THAT(error(R"("logit_bias": {"x": 1})"), HasSubstr("must be a token id"));
  EXPECT_THAT(error(R"("logit_bias": {"1": 101})"), HasSubstr("[-100, 100]"));
  EXPECT_THAT(error(R"("regex": "a+")"), HasSubstr("constrained output"));
  EXPECT_EQ(error(R"("temperature": 1e-9, "top_k": 0)"), "");
}

OpenAiRequest Completion(std::string_view body) {
  OpenAiRequest request;
  const ApiStatus error = ParseCompletionRequest(*ParseJsonObject(body), "base", request);
  EXPECT_FALSE(error.has_value()) << error->error.message;
  return request;
}

std::string CompletionError(std::string_view body) {
  OpenAiRequest request;
  const ApiStatus error = ParseCompletionRequest(*ParseJsonObject(body), "base", request);
  return error ? error->error.message : "";
}

OpenAiRequest Chat(std::string_view body) {
  OpenAiRequest request;
  const ApiStatus error = ParseChatRequest(*ParseJsonObject(body), "base", request);
  EXPECT_FALSE(error.has_value()) << error->error.message;
  return request;
}

std::string ChatError(std::string_view fields) {
  OpenAiRequest request;
  const std::string body =
      R"({"messages": [{"role": "user", "content": "a"}], )" + std::string(fields) + "}";
  const ApiStatus error = ParseChatRequest(*ParseJsonObject(body), "base", request);
  return error ? error->error.message : "";
}

TEST(CompletionRequest, TakesEveryFormOfPrompt) {
  EXPECT_EQ(TextOf(Completion(R"({"prompt": "a"})").prompts.at(0)), "a");
  EXPECT_EQ(Completion(R"({"prompt": ["a", "b"]})").prompts.size(), 2U);
  EXPECT_THAT(IdsOf(Completion(R"({"prompt": [1, 2]})").prompts.at(0)), ElementsAre(1, 2));
  EXPECT_EQ(Completion(R"({"prompt": [[1], [2]]})").prompts.size(), 2U);
  EXPECT_THAT(CompletionError(R"({"model": "base"})"), HasSubstr("prompt is missing"));
  EXPECT_THAT(CompletionError(R"({"prompt": {}})"), HasSubstr("prompt must be a string"));
  EXPECT_THAT(CompletionError(R"({"prompt": [1, "a"]})"), HasSubstr("prompt must be a string"));
}

TEST(CompletionRequest, ModelNamesAnAdapter) {
  const auto adapter = [](const std::string& fields) {
    return Completion(R"({"prompt": "a", )" + fields + "}").prompts.at(0).adapter;
  };
  EXPECT_EQ(adapter(R"("model": "base")"), "");
  EXPECT_EQ(adapter(R"("model": "pirate")"), "pirate");
  EXPECT_EQ(adapter(R"("model": "base:pirate")"), "pirate");
  EXPECT_EQ(adapter(R"("model": "base", "lora_path": "pirate")"), "pirate");
  EXPECT_EQ(adapter(R"("model": "base:x", "lora_path": "pirate")"), "x");
  const OpenAiRequest list =
      Completion(R"({"prompt": ["a", "b"], "model": "base", "lora_path": [null, "p"]})");
  EXPECT_EQ(list.prompts[0].adapter, "");
  EXPECT_EQ(list.prompts[1].adapter, "p");
  EXPECT_THAT(CompletionError(R"({"prompt": "a", "lora_path": ["x", "y"]})"),
              HasSubstr("lora_path has 2 entries for 1 prompts"));
}

TEST(CompletionRequest, ReadsOpenAisFieldsAndVllmsExtras) {
  const OpenAiRequest request = Completion(R"({"prompt": "a", "model": "base", "n": 2,
      "best_of": 2, "echo": true, "logprobs": 3, "stop": "x", "seed": -1, "stream": true,
      "stream_options": {"include_usage": true}, "max_tokens": 9, "min_tokens": 1, "user": "me",
      "top_k": 5, "min_p": 0.2, "repetition_penalty": 1.5, "ignore_eos": true,
      "stop_token_ids": [3], "skip_special_tokens": false, "include_stop_str_in_output": true})");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_TRUE(request.echo);
  const Prompt& prompt = request.prompts.at(0);
  EXPECT_TRUE(prompt.want_logprobs);
  EXPECT_EQ(prompt.top_logprobs, 3);
  EXPECT_EQ(prompt.prompt_logprobs_from, 0);
  EXPECT_EQ(prompt.sampling.n, 2);
  EXPECT_EQ(prompt.sampling.max_new_tokens, 9);
  EXPECT_EQ(prompt.sampling.min_new_tokens, 1);
  EXPECT_EQ(prompt.sampling.params.seed, ~uint64_t{0});
  EXPECT_EQ(prompt.sampling.params.top_k, 5);
  EXPECT_TRUE(prompt.sampling.include_stop);
  EXPECT_FALSE(prompt.sampling.skip_special_tokens);
  EXPECT_EQ(Completion(R"({"prompt": "a"})").prompts.at(0).sampling.max_new_tokens, 16);
}

TEST(CompletionRequest, RefusesWhatIsNotServed) {
  EXPECT_THAT(CompletionError(R"({"prompt": "a", "suffix": "x"})"), HasSubstr("suffix is not"));
  EXPECT_THAT(CompletionError(R"({"prompt": "a", "best_of": 3})"),
              HasSubstr("best_of must equal n (1), it is 3"));
  EXPECT_THAT(CompletionError(R"({"prompt": "a", "guided_json": {}})"), HasSubstr("constrained"));
  EXPECT_THAT(CompletionError(R"({"prompt": "a", "stream_options": {}})"),
              HasSubstr("can only be set when stream is true"));
}

TEST(ChatRequest, ReadsMessages) {
  const OpenAiRequest request = Chat(R"({"model": "base", "max_completion_tokens": 4,
      "messages": [{"role": "system", "content": "s"}, {"role": "user", "content":
      [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null}], "chat_template_kwargs": {"x": 1}})");
  const auto& chat = std::get<ChatMessages>(request.prompts.at(0).source);
  EXPECT_EQ(chat.messages_json,
            R"([{"role":"system","content":"s"},{"role":"user","content":"a\nb"},)"
            R"({"role":"assistant","content":""}])");
  EXPECT_EQ(chat.options.extra_variables_json, R"({"x":1})");
  EXPECT_EQ(request.prompts[0].sampling.max_new_tokens, 4);
  EXPECT_FALSE(Chat(R"({"messages": [{"role": "user", "content": "a"}]})")
                   .prompts[0]
                   .sampling.max_new_tokens.has_value());
}

TEST(ChatRequest, ErrorsNameTheField) {
  OpenAiRequest request;
  const auto error = [&](std::string_view body) {
    const ApiStatus status = ParseChatRequest(*ParseJsonObject(body), "base", request);
    return status ? status->error.message : "";
  };
  EXPECT_THAT(error(R"({})"), HasSubstr("messages must be a list"));
  EXPECT_THAT(error(R"({"messages": []})"), HasSubstr("messages must be a list"));
  EXPECT_THAT(error(R"({"messages": ["a"]})"), HasSubstr("messages[0] must be an object"));
  EXPECT_THAT(error(R"({"messages": [{"content": "a"}]})"), HasSubstr("messages[0].role"));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": 1}]})"),
              HasSubstr("messages[0].content"));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
              HasSubstr("part of type \"image_url\": only \"text\""));
}

TEST(ChatRequest, RefusesToolsAndGrammarsClearly) {
  EXPECT_THAT(ChatError(R"("tools": [{"type": "function"}])"),
              HasSubstr("tools are not supported"));
  EXPECT_EQ(ChatError(R"("tools": [{"type": "function"}], "tool_choice": "none")"), "");
  EXPECT_EQ(ChatError(R"("tool_choice": "auto")"), "");
  EXPECT_THAT(ChatError(R"("tool_choice": "required")"), HasSubstr("tool_choice"));
  EXPECT_THAT(ChatError(R"("response_format": {"type": "json_object"})"),
              HasSubstr("of type \"json_object\" is not supported"));
  EXPECT_EQ(ChatError(R"("response_format": {"type": "text"})"), "");
  EXPECT_THAT(ChatError(R"("top_logprobs": 2)"), HasSubstr("needs logprobs to be true"));
  EXPECT_EQ(ChatError(R"("top_logprobs": 2, "logprobs": true)"), "");
  EXPECT_THAT(ChatError(R"("continue_final_message": true)"), HasSubstr("continue_final_message"));
}

}  // namespace
}  // namespace weft::server
