#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "server/route_harness_for_test.h"

namespace weft::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What differs from run to run, replaced by a name.
std::string Stable(std::string text) {
  text = std::regex_replace(text, std::regex(R"("created":\d+)"), R"("created":0)");
  text = std::regex_replace(text, std::regex(R"((chatcmpl|cmpl)-[0-9a-f]{32})"), "$1-X");
  text =
      std::regex_replace(text, std::regex(R"("e2e_latency":[-+.e0-9]+)"), R"("e2e_latency":0.1)");
  return text;
}

TEST(GenerateRoute, WholeReplyIsSglangs) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "hi", "rid": "r", "lora_path": "pirate",
      "sampling_params": {"max_new_tokens": 5, "temperature": 0}})");
  EXPECT_THAT(harness.service.wanted(), ElementsAre("pirate"));
  EXPECT_THAT(harness.service.request(0).prompt, ElementsAre('h', 'i'));
  EXPECT_EQ(harness.service.request(0).adapter, "pirate");
  EXPECT_EQ(harness.service.request(0).client_id, "r");
  EXPECT_EQ(harness.service.request(0).max_new_tokens, 5);
  engine::RequestEvent first = ScriptedService::BytesEvent("o");
  first.cached_tokens = 1;
  harness.EmitEvent(0, first);
  EXPECT_FALSE(reply->whole.has_value());
  harness.Emit(0, "k", RouteHarness::Stop(257));
  ASSERT_TRUE(reply->whole.has_value());
  EXPECT_EQ(reply->whole->status, 200);
  EXPECT_EQ(Stable(reply->whole->body),
            R"({"text":"ok","output_ids":[111,107,257],"meta_info":{"id":"r","finish_reason":)"
            R"({"type":"stop","matched":257},"prompt_tokens":2,"weight_version":"default",)"
            R"("completion_tokens":3,"cached_tokens":1,"e2e_latency":0.1}})");
}

TEST(GenerateRoute, StreamIsCumulativeAndEndsWithDone) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "hi", "rid": "r", "stream": true})");
  EXPECT_FALSE(reply->head.has_value());  // Nothing before the first event.
  harness.Emit(0, "a");
  EXPECT_EQ(reply->head->content_type, "text/event-stream; charset=utf-8");
  harness.Emit(0, "b", RouteHarness::Length());
  EXPECT_TRUE(reply->ended);
  EXPECT_EQ(
      Stable(reply->stream),
      R"(data: {"text":"a","output_ids":[97],"meta_info":{"id":"r","finish_reason":null,)"
      R"("prompt_tokens":2,"weight_version":"default","completion_tokens":1,"cached_tokens":0}})"
      "\n\n"
      R"(data: {"text":"ab","output_ids":[97,98],"meta_info":{"id":"r","finish_reason":)"
      R"({"type":"length","length":2},"prompt_tokens":2,"weight_version":"default",)"
      R"("completion_tokens":2,"cached_tokens":0,"e2e_latency":0.1}})"
      "\n\ndata: [DONE]\n\n");
}

TEST(GenerateRoute, SlowClientsSkipFramesButNotTheLast) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "hi", "stream": true})");
  harness.Emit(0, "a");
  reply->backlogged = true;
  harness.Emit(0, "b");
  EXPECT_THAT(reply->stream, Not(HasSubstr(R"("text":"ab")")));
  harness.Emit(0, "c", RouteHarness::Length());
  EXPECT_THAT(reply->stream, HasSubstr(R"("text":"abc")"));
}

TEST(GenerateRoute, StopStringAcrossTokensEndsTextIdsAndTheEnginesRequest) {
  RouteHarness harness;
  auto reply = harness.Post("/generate",
                            R"({"text": "x", "rid": "r", "sampling_params": {"stop": ["END"]}})");
  harness.Emit(0, "okE");
  harness.Emit(0, "NDmore");
  EXPECT_THAT(harness.service.stopped(), ElementsAre(RequestId(1)));
  ASSERT_TRUE(reply->whole.has_value());
  EXPECT_THAT(reply->whole->body,
              HasSubstr(R"("text":"ok","output_ids":[111,107,69,78,68],"meta_info":{"id":"r",)"
                        R"("finish_reason":{"type":"stop","matched":"END"})"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("completion_tokens":5)"));
  harness.Emit(0, "z", engine::Finish{engine::FinishType::kAbort});  // Nobody listens.
}

TEST(GenerateRoute, HalfStopStringIsTextAfterAll) {
  RouteHarness harness;
  auto reply = harness.Post("/generate",
                            R"({"text": "x", "stream": true, "sampling_params": {"stop": "END"}})");
  harness.Emit(0, "EN");
  EXPECT_THAT(reply->stream, HasSubstr(R"("text":"")"));
  harness.Emit(0, "", RouteHarness::Length());
  EXPECT_THAT(reply->stream, HasSubstr(R"("text":"EN")"));
}

TEST(GenerateRoute, BatchKeepsOrderAndStreamsIndex) {
  RouteHarness harness;
  auto whole = harness.Post("/generate", R"({"input_ids": [[1], [2]], "rid": ["a", "b"],
      "lora_path": ["p", null]})",
                            2);
  EXPECT_EQ(harness.service.request(0).adapter, "p");
  EXPECT_EQ(harness.service.request(1).adapter, "");
  harness.Emit(1, "2", RouteHarness::Length());
  EXPECT_FALSE(whole->whole.has_value());
  harness.Emit(0, "1", RouteHarness::Length());
  EXPECT_THAT(whole->whole->body, testing::StartsWith(R"([{"text":"1",)"));
  EXPECT_THAT(whole->whole->body, HasSubstr(R"({"text":"2",)"));

  auto stream = harness.Post("/generate", R"({"text": ["a", "b"], "stream": true})", 2);
  harness.Emit(3, "y", RouteHarness::Length());
  EXPECT_THAT(stream->stream, HasSubstr(R"(,"index":1})"));
  EXPECT_FALSE(stream->ended);
  harness.Emit(2, "x", RouteHarness::Length());
  EXPECT_TRUE(stream->ended);
}

TEST(GenerateRoute, LogprobsAreTriples) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "hi", "return_logprob": true,
      "logprob_start_len": 0, "top_logprobs_num": 1, "return_text_in_logprobs": true})");
  EXPECT_TRUE(harness.service.request(0).want_logprobs);
  EXPECT_EQ(harness.service.request(0).prompt_logprobs_from, 0);
  EXPECT_EQ(harness.service.request(0).top_logprobs, 1);
  engine::RequestEvent event = ScriptedService::BytesEvent("o");
  event.tokens[0].top = {{'p', -0.25F}};
  event.prompt_logprobs = {{'h', NAN, {}}, {'i', -1.5F, {{'j', -1.0F}}}};
  event.finish = RouteHarness::Length();
  harness.EmitEvent(0, event);
  EXPECT_THAT(reply->whole->body,
              HasSubstr(R"("input_token_logprobs":[[null,104,"h"],[-1.5,105,"i"]],)"
                        R"("output_token_logprobs":[[-0.5,111,"o"]],)"
                        R"("input_top_logprobs":[null,[[-1.0,106,"j"]]],)"
                        R"("output_top_logprobs":[[[-0.25,112,"p"]]],)"));
}

TEST(GenerateRoute, TheEndTokenHasItsLogprobAsTheOthers) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "hi", "return_logprob": true})");
  harness.Emit(0, "o", RouteHarness::Stop(257));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("output_ids":[111,257])"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("output_token_logprobs":[[-0.5,111,null],)"
                                            R"([-0.125,257,null]])"));
}

TEST(GenerateRoute, ErrorsBeforeAnyTokenHaveTheirStatus) {
  RouteHarness harness;
  const auto fail = [&](size_t index, ErrorCode code) {
    return engine::Finish{engine::FinishType::kError, Error{code, "why " + std::to_string(index)}};
  };
  auto unknown = harness.Post("/generate", R"({"text": "a", "lora_path": "x", "stream": true})");
  harness.Emit(0, "", fail(0, ErrorCode::kNotFound));
  EXPECT_EQ(unknown->whole->status, 400);
  EXPECT_EQ(unknown->whole->body, R"({"error":{"message":"why 0"}})");
  auto full = harness.Post("/generate", R"({"text": "a", "stream": true})");
  harness.Emit(1, "", fail(1, ErrorCode::kResourceExhausted));
  EXPECT_EQ(full->whole->status, 429);
  EXPECT_EQ(full->whole->headers.at(0), std::pair(std::string("Retry-After"), std::string("1")));
  auto draining = harness.Post("/generate", R"({"text": "a"})");
  harness.Emit(2, "", fail(2, ErrorCode::kUnavailable));
  EXPECT_EQ(draining->whole->status, 503);
}

TEST(GenerateRoute, AnErrorInTheMiddleEndsTheStreamProperly) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": ["a", "b"], "stream": true})", 2);
  harness.Emit(0, "x");
  harness.Emit(1, "", engine::Finish{engine::FinishType::kError, {ErrorCode::kInternal, "bad"}});
  EXPECT_THAT(reply->stream,
              testing::EndsWith("data: {\"error\":{\"message\":\"bad\"}}\n\ndata: [DONE]\n\n"));
  EXPECT_TRUE(reply->ended);
  EXPECT_THAT(harness.service.aborted(), ElementsAre(RequestId(1)));
}

TEST(GenerateRoute, HangUpAbortsEveryChoice) {
  RouteHarness harness;
  auto reply = harness.Post("/generate", R"({"text": "a", "sampling_params": {"n": 2}})", 2);
  harness.Emit(0, "x", RouteHarness::Length());
  reply->ClientHangsUp();
  EXPECT_THAT(harness.service.aborted(), ElementsAre(RequestId(2)));
  EXPECT_EQ(harness.shard.events->active(), 0U);
}

TEST(GenerateRoute, ChoicesOfOneSeedDiffer) {
  RouteHarness harness;
  harness.Post("/generate", R"({"text": "a", "sampling_params": {"n": 2, "seed": 5}})", 2);
  EXPECT_EQ(harness.service.request(0).sampling.seed, 5U);
  EXPECT_EQ(harness.service.request(1).sampling.seed, 6U);
  EXPECT_TRUE(harness.service.request(1).has_seed);
}

TEST(GenerateRoute, TooLongIsRefusedBeforeTheEngineSeesIt) {
  RouteHarness harness;  // A context of 200.
  const HttpResponse reply = harness.Ask(
      Method::kPost, "/generate", R"({"text": "abc", "sampling_params": {"max_new_tokens": 198}})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("maximum context length is 200 tokens"));
  EXPECT_THAT(reply.body, HasSubstr("201 tokens (3 in the text, 198 in the completion)"));
  EXPECT_EQ(harness.Ask(Method::kPost, "/generate", R"({"text": ""})").status, 400);
  EXPECT_EQ(harness.Ask(Method::kPost, "/generate", R"({"input_ids": [258]})").status, 400);
  EXPECT_EQ(harness.service.submitted_count(), 0U);
}

TEST(CompletionRoute, WholeReplyIsOpenAis) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions", R"({"model": "base", "prompt": "hi"})");
  EXPECT_EQ(harness.service.request(0).max_new_tokens, 16);
  harness.Emit(0, "ok", RouteHarness::Stop(257));
  EXPECT_EQ(Stable(reply->whole->body),
            R"({"id":"cmpl-X","object":"text_completion","created":0,"model":"base","choices":)"
            R"([{"index":0,"text":"ok","logprobs":null,"finish_reason":"stop","stop_reason":null,)"
            R"("matched_stop":257}],"usage":{"prompt_tokens":2,"total_tokens":5,)"
            R"("completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}})");
}

TEST(CompletionRoute, StreamIsOpenAisByteForByte) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions", R"({"model": "pirate", "prompt": "hi",
      "stream": true, "stream_options": {"include_usage": true}, "stop": "!"})");
  harness.Emit(0, "a\"");
  harness.Emit(0, "b!c");
  const std::string head =
      R"(data: {"id":"cmpl-X","object":"text_completion","created":0,"model":"pirate","choices":[)";
  EXPECT_EQ(Stable(reply->stream),
            head +
                R"({"index":0,"text":"a\"","logprobs":null,"finish_reason":null}],"usage":null})" +
                "\n\n" + head +
                R"({"index":0,"text":"b","logprobs":null,"finish_reason":"stop","stop_reason":"!",)"
                R"("matched_stop":"!"}],"usage":null})" +
                "\n\n" + head +
                R"(],"usage":{"prompt_tokens":2,"total_tokens":6,"completion_tokens":4,)"
                R"("prompt_tokens_details":{"cached_tokens":0}}})" +
                "\n\ndata: [DONE]\n\n");
}

TEST(CompletionRoute, BatchTimesNIsIndexedInOrder) {
  RouteHarness harness;
  auto reply =
      harness.Post("/v1/completions", R"({"prompt": ["a", "b"], "n": 2, "logprobs": 0})", 4);
  EXPECT_THAT(harness.service.request(2).prompt, ElementsAre('b'));
  for (size_t i = 0; i < 4; ++i)
    harness.Emit(i, std::string(1, static_cast<char>('0' + i)), RouteHarness::Length());
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(reply->whole->body, HasSubstr(fmt::format(R"("index":{},"text":"{}")", i, i)));
  }
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("prompt_tokens":2,"total_tokens":6)"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("top_logprobs":[{"3":-0.5}])"));
}

TEST(CompletionRoute, TooManyLogprobsAreRefusedByTheFieldThatAsks) {
  RouteHarness harness;
  const HttpResponse completion =
      harness.Ask(Method::kPost, "/v1/completions", R"({"prompt": "a", "logprobs": 99})");
  EXPECT_THAT(completion.body, HasSubstr(R"("param":"logprobs")"));
  const HttpResponse generate =
      harness.Ask(Method::kPost, "/generate",
                  R"({"text": "a", "return_logprob": true, "top_logprobs_num": 99})");
  EXPECT_THAT(generate.body, HasSubstr("99 alternatives are asked for in top_logprobs_num"));
}

TEST(CompletionRoute, EchoWithLogprobsCoversThePrompt) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions",
                            R"({"prompt": "hé", "echo": true, "logprobs": 1, "max_tokens": 1})");
  engine::RequestEvent event = ScriptedService::BytesEvent("o");
  event.prompt_logprobs = {{'h', NAN, {}}, {0xC3, -1.0F, {}}, {0xA9, -2.0F, {}}};
  event.finish = RouteHarness::Length();
  harness.EmitEvent(0, event);
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("text":"héo")"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("token_logprobs":[null,-1.0,-2.0,-0.5],)"
                                            R"("tokens":["h","bytes:\\xc3","bytes:\\xa9","o"])"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("top_logprobs":[null,{)"));
}

TEST(CompletionRoute, NoTokensMeansScoringThePrompt) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions",
                            R"({"prompt": "hi", "echo": true, "logprobs": 0, "max_tokens": 0})");
  EXPECT_EQ(harness.service.request(0).max_new_tokens, 1);
  engine::RequestEvent event = ScriptedService::BytesEvent("o");
  event.prompt_logprobs = {{'h', NAN, {}}, {'i', -1.0F, {}}};
  event.finish = RouteHarness::Stop(257);
  harness.EmitEvent(0, event);
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("text":"hi")"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("token_logprobs":[null,-1.0])"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("finish_reason":"length")"));
  EXPECT_THAT(reply->whole->body, HasSubstr(R"("completion_tokens":0)"));
}

TEST(CompletionRoute, UnknownModelIs404) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions", R"({"model": "nope", "prompt": "a"})");
  harness.Emit(0, "",
               engine::Finish{engine::FinishType::kError,
                              {ErrorCode::kNotFound, "no adapter is named nope"}});
  EXPECT_EQ(reply->whole->status, 404);
  EXPECT_EQ(reply->whole->body,
            R"({"error":{"message":"no adapter is named nope; the base model is 'base'",)"
            R"("type":"NotFoundError",)"
            R"("param":"model","code":404}})");
}

TEST(CompletionRoute, HalfACharacterIsHeldBack) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions", R"({"prompt": "a", "stream": true})");
  harness.Emit(0, "\xc3");
  EXPECT_EQ(reply->stream, "");
  harness.Emit(0, "\xa9");
  EXPECT_THAT(reply->stream, HasSubstr("\"text\":\"é\""));
  harness.Emit(0, "\xe2", RouteHarness::Length());
  EXPECT_THAT(reply->stream, HasSubstr("\"text\":\"\xef\xbf\xbd\""));
}

TEST(CompletionRoute, AbortIsAFinishReason) {
  RouteHarness harness;
  auto reply = harness.Post("/v1/completions", R"({"prompt": "a", "stream": true})");
  harness.Emit(0, "x");
  harness.shard.events->AbortAll(Error{ErrorCode::kUnavailable, "the server is shutting down"});
  EXPECT_THAT(reply->stream, HasSubstr(R"("finish_reason":"abort")"));
  EXPECT_TRUE(reply->ended);
}

TEST(ChatRoute, WithoutATemplateSaysWhatToDo) {
  RouteHarness harness;
  const HttpResponse reply = harness.Ask(Method::kPost, "/v1/chat/completions",
                                         R"({"messages": [{"role": "user", "content": "a"}]})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("--chat-template"));
}

class ChatRouteTest : public testing::Test {
 protected:
  void SetUp() override {
    auto compiled = text::ChatTemplate::Compile(
        {"{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
         "{% if add_generation_prompt %}>{% endif %}",
         {}});
    if (!compiled) GTEST_SKIP() << compiled.error().message;
    harness.server.chat_template = *compiled;
  }
  RouteHarness harness;
};

TEST_F(ChatRouteTest, StreamTellsTheRoleFirstAndTheReasonLast) {
  auto reply = harness.Post("/v1/chat/completions", R"({"model": "base", "stream": true,
      "messages": [{"role": "user", "content": "a"}]})");
  const auto prompt = harness.service.request(0).prompt;
  EXPECT_EQ(std::string(prompt.begin(), prompt.end()), "user:a;>");
  EXPECT_EQ(harness.service.request(0).max_new_tokens, 192);  // What the context leaves.
  harness.Emit(0, "o");
  harness.Emit(0, "k", RouteHarness::Stop(257));
  const std::string head =
      R"(data: {"id":"chatcmpl-X","object":"chat.completion.chunk","created":0,"model":"base",)"
      R"("choices":[{"index":0,"delta":)";
  const std::string open = R"(,"logprobs":null,"finish_reason":null}]})";
  EXPECT_EQ(Stable(reply->stream),
            head + R"({"role":"assistant","content":""})" + open + "\n\n" +  //
                head + R"({"content":"o"})" + open + "\n\n" +                //
                head + R"({"content":"k"})" + open + "\n\n" +                //
                head + R"({},"logprobs":null,"finish_reason":"stop","stop_reason":null,)" +
                R"("matched_stop":257}]})" + "\n\ndata: [DONE]\n\n");
}

TEST_F(ChatRouteTest, TheEndTokensLogprobIsStreamedBeforeTheReason) {
  auto reply = harness.Post("/v1/chat/completions", R"({"logprobs": true, "stream": true,
      "messages": [{"role": "user", "content": "a"}]})");
  harness.Emit(0, "", RouteHarness::Stop(257));
  EXPECT_THAT(reply->stream,
              HasSubstr(R"("delta":{"content":""},"logprobs":{"content":[{"token":"</s>",)"
                        R"("logprob":-0.125,"bytes":[60,47,115,62],"top_logprobs":[]}]},)"
                        R"("finish_reason":null})"));
}

TEST_F(ChatRouteTest, LogprobsHaveBytesAndAlternatives) {
  auto reply = harness.Post("/v1/chat/completions", R"({"logprobs": true, "top_logprobs": 1,
      "messages": [{"role": "user", "content": "a"}]})");
  engine::RequestEvent event = ScriptedService::BytesEvent("o");
  event.tokens[0].top = {{'p', -0.25F}};
  event.finish = RouteHarness::Length();
  harness.EmitEvent(0, event);
  EXPECT_THAT(reply->whole->body,
              HasSubstr(R"("message":{"role":"assistant","content":"o","refusal":null},)"
                        R"("logprobs":{"content":[{"token":"o","logprob":-0.5,"bytes":[111],)"
                        R"("top_logprobs":[{"token":"p","logprob":-0.25,"bytes":[112]}]}]},)"
                        R"("finish_reason":"length")"));
}

}  // namespace
}  // namespace weft::server
