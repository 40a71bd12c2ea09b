#include "bench/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/scripted_server.h"

namespace weft::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr Duration kTimeout = std::chrono::seconds(10);

std::string Event(const std::string& json) { return "data: " + json + "\n\n"; }

std::string Generated(int tokens) {
  return Event(R"({"text": ")" + std::string(static_cast<size_t>(tokens), 'x') +
               R"(", "meta_info": {"completion_tokens": )" + std::to_string(tokens) + "}}");
}

Endpoint Local(const ScriptedServer& server) {
  return Endpoint{"127.0.0.1", std::to_string(server.port()), ""};
}

Load OneRequest(const ScriptedServer& server, Protocol protocol) {
  Load load;
  load.endpoint = Local(server);
  load.path = "/x";
  load.protocol = protocol;
  load.requests.resize(1);
  load.requests[0].body = "{}";
  load.requests[0].output_tokens = 3;
  return load;
}

const std::function<void(size_t)> kNobody = [](size_t) {};

TEST(HttpClientTest, ChunksAreTimedAsTheyArrive) {
  ScriptedServer server([](const std::string&) {
    return Script{200,
                  {{std::chrono::milliseconds(100), Generated(1)},
                   {std::chrono::milliseconds(50), Generated(2)},
                   {std::chrono::milliseconds(150), Generated(3)},
                   {std::chrono::milliseconds(0), "data: [DONE]\n\n"}}};
  });
  const LoadResult result =
      RunLoad(OneRequest(server, Protocol::kSglangGenerate), SteadyClock(), kNobody);
  ASSERT_THAT(result.outcomes, SizeIs(1));
  const RequestOutcome& outcome = result.outcomes[0];
  ASSERT_TRUE(outcome.success) << outcome.error;
  EXPECT_EQ(outcome.generated_text, "xxx");
  ASSERT_THAT(outcome.itl, SizeIs(2));
  // The server sleeps at least so long; a busy machine only adds.
  EXPECT_GE(outcome.ttft, 0.099);
  EXPECT_GE(outcome.itl[0], 0.04);
  EXPECT_GE(outcome.itl[1], 0.14);
  EXPECT_GE(outcome.latency, 0.3);
  EXPECT_GE(result.duration, outcome.latency);
}

TEST(HttpClientTest, EachProtocolsStreamIsRead) {
  ScriptedServer completions([](const std::string&) {
    return Script{200,
                  {{{}, Event(R"({"choices":[{"text":"ab"}]})")},
                   {{}, Event(R"({"choices":[{"text":"c"}],"usage":{"completion_tokens":2}})")}}};
  });
  ScriptedServer chat([](const std::string&) {
    return Script{200,
                  {{{}, Event(R"({"choices":[{"delta":{"content":"ab"}}]})")},
                   {{}, Event(R"({"choices":[{"delta":{"content":"c"}}]})")},
                   {{}, "data: [DONE]\n\n"}}};
  });
  const auto completed =
      RunLoad(OneRequest(completions, Protocol::kOpenAiCompletions), SteadyClock(), kNobody);
  EXPECT_EQ(completed.outcomes[0].generated_text, "abc");
  EXPECT_EQ(completed.outcomes[0].output_tokens, 2);
  const auto chatted = RunLoad(OneRequest(chat, Protocol::kOpenAiChat), SteadyClock(), kNobody);
  EXPECT_EQ(chatted.outcomes[0].generated_text, "abc");
  EXPECT_EQ(chatted.outcomes[0].output_tokens, 3);
}

TEST(HttpClientTest, ManyStreamsAtOnceAndInOrder) {
  ScriptedServer server([](const std::string& request) {
    const std::string body = request.substr(request.find("\r\n\r\n") + 4);
    return Script{200, {{std::chrono::milliseconds(100), Generated(std::stoi(body))}}};
  });
  Load load = OneRequest(server, Protocol::kSglangGenerate);
  load.requests.resize(200);
  for (int i = 0; i < 200; ++i) load.requests[static_cast<size_t>(i)].body = std::to_string(i + 1);
  size_t last = 0;
  const LoadResult result = RunLoad(load, SteadyClock(), [&last](size_t done) {
    EXPECT_EQ(done, last + 1);
    last = done;
  });
  EXPECT_EQ(last, 200U);
  for (size_t i = 0; i < 200; ++i) EXPECT_EQ(result.outcomes[i].generated_text.size(), i + 1);
  EXPECT_LT(result.duration, 10) << "one after the other they take 20 s";
}

TEST(HttpClientTest, MaxConcurrencyHoldsAndArrivalTimesAreKept) {
  ScriptedServer server([](const std::string&) {
    return Script{200, {{std::chrono::milliseconds(60), Generated(1)}}};
  });
  Load load = OneRequest(server, Protocol::kSglangGenerate);
  load.requests.resize(9, load.requests[0]);
  load.max_concurrency = 3;
  const LoadResult limited = RunLoad(load, SteadyClock(), kNobody);
  EXPECT_EQ(server.most_at_once(), 3);
  EXPECT_GE(limited.duration, 0.18);
  load.requests.resize(2);
  load.requests[1].at = std::chrono::milliseconds(200);
  const LoadResult spread = RunLoad(load, SteadyClock(), kNobody);
  EXPECT_GE(spread.outcomes[1].start - spread.outcomes[0].start, 0.199);
}

TEST(HttpClientTest, RefusalsCutStreamsAndAbsentServersAreOutcomes) {
  ScriptedServer refusing([](const std::string&) {
    return Script{404, {{{}, "no adapter\nnamed 'x'"}}};
  });
  const auto refused =
      RunLoad(OneRequest(refusing, Protocol::kSglangGenerate), SteadyClock(), kNobody);
  EXPECT_FALSE(refused.outcomes[0].success);
  EXPECT_EQ(refused.outcomes[0].error, "404 Status: no adapter named 'x'");

  ScriptedServer cutting([](const std::string&) {
    return Script{200, {{{}, Generated(1)}}, /*cut=*/true};
  });
  const auto cut = RunLoad(OneRequest(cutting, Protocol::kSglangGenerate), SteadyClock(), kNobody);
  EXPECT_FALSE(cut.outcomes[0].success);
  EXPECT_THAT(cut.outcomes[0].error, HasSubstr("cut short"));

  Load nowhere = OneRequest(cutting, Protocol::kSglangGenerate);
  nowhere.endpoint.port = "1";
  const auto absent = RunLoad(nowhere, SteadyClock(), kNobody);
  EXPECT_EQ(absent.outcomes[0].error,
            "no server answers at http://127.0.0.1:1 (Connection refused)");
}

TEST(HttpClientTest, SmallCalls) {
  ScriptedServer server([](const std::string& request) {
    const bool post = request.starts_with("POST /p/flush HTTP/1.1\r\n");
    return Script{post ? 200 : 503, {{{}, post ? "done" : request.substr(0, 5)}}};
  });
  Endpoint endpoint = Local(server);
  endpoint.prefix = "/p";
  const auto post = Post(endpoint, "/flush", {{"Authorization", "Bearer k"}}, "", kTimeout);
  ASSERT_TRUE(post.ok()) << post.error().message;
  EXPECT_EQ(post->status, 200);
  EXPECT_EQ(post->body, "done");
  const auto get = Get(endpoint, "/flush", {}, kTimeout);
  EXPECT_EQ(get->status, 503);
  EXPECT_EQ(get->body, "GET /");
  endpoint.port = "1";
  EXPECT_EQ(Get(endpoint, "/", {}, kTimeout).error().code, ErrorCode::kUnavailable);
}

TEST(HttpClientTest, BaseUrls) {
  EXPECT_EQ(ParseBaseUrl("http://h:8000/v/")->Url("/x"), "http://h:8000/v/x");
  EXPECT_EQ(ParseBaseUrl("http://h")->Url(""), "http://h:80");
  EXPECT_EQ(ParseBaseUrl("http://[::1]:30000")->host, "::1");
  EXPECT_THAT(ParseBaseUrl("https://h").error().message, HasSubstr("only http://"));
  EXPECT_THAT(ParseBaseUrl("http://:1").error().message, HasSubstr("the host is missing"));
  EXPECT_THAT(ParseBaseUrl("http://h:a").error().message, HasSubstr("the port is not a number"));
}

}  // namespace
}  // namespace weft::bench
