#include "bench/response_timer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::bench {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kTiny = 1e-9;

Moment At(double seconds) { return Moment(FromSeconds(100 + seconds)); }

class ResponseTimerTest : public ::testing::Test {
 protected:
  ResponseTimer Timer(Protocol protocol) { return ResponseTimer(protocol, 10, 64, At(0), parser_); }

  StreamEventParser parser_;
};

TEST_F(ResponseTimerTest, SglangsCumulativeTextSharesAGapAmongItsTokens) {
  ResponseTimer timer = Timer(Protocol::kSglangGenerate);
  timer.OnBytes("data: {\"text\": \"\", \"meta_info\": {\"completion_tokens\": 0}}\n\n", At(0.1));
  timer.OnBytes("data: {\"text\": \"a\", \"meta_info\": {\"completion_tokens\": 1}}\n\n", At(0.5));
  timer.OnBytes("data: {\"text\": \"abc\", \"meta_info\": {\"completion_tokens\": 3}}\n\n",
                At(0.9));
  // No new token: neither a gap, nor the start of the next one.
  timer.OnBytes("data: {\"text\": \"abc\", \"meta_info\": {\"completion_tokens\": 3}}\n\n",
                At(1.0));
  timer.OnBytes("data: {\"text\": \"abcd\", \"meta_info\": {\"completion_tokens\": 4}}\n\n",
                At(1.2));
  timer.OnBytes("data: [DONE]\n\n", At(1.5));
  timer.OnEnd(At(9));
  const RequestOutcome outcome = timer.Take();
  EXPECT_TRUE(outcome.success);
  EXPECT_NEAR(outcome.ttft, 0.5, kTiny);
  EXPECT_NEAR(outcome.latency, 1.5, kTiny);
  EXPECT_THAT(outcome.itl,
              ElementsAre(DoubleNear(0.2, kTiny), DoubleNear(0.2, kTiny), DoubleNear(0.3, kTiny)));
  EXPECT_EQ(outcome.output_tokens, 4);
  EXPECT_EQ(outcome.prompt_tokens, 10);
  EXPECT_EQ(outcome.generated_text, "abcd");
  EXPECT_NEAR(outcome.start, 100, kTiny);
}

TEST_F(ResponseTimerTest, CompletionsMayBeCutAnywhere) {
  const std::string stream =
      "data: {\"choices\":[{\"text\":\"h\\u00e9\"}],\"usage\":null}\r\n\r\n"
      "data: {\"choices\":[{\"text\":\"llo\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\n"
      "data: [DONE]\n\n";
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    ResponseTimer timer = Timer(Protocol::kOpenAiCompletions);
    timer.OnBytes(stream.substr(0, cut), At(1));
    timer.OnBytes(stream.substr(cut), At(2));
    timer.OnEnd(At(3));
    const RequestOutcome outcome = timer.Take();
    ASSERT_TRUE(outcome.success) << cut << outcome.error;
    EXPECT_EQ(outcome.generated_text, "héllo") << cut;
    EXPECT_EQ(outcome.output_tokens, 5) << cut;
    EXPECT_EQ(outcome.itl.size(), 1U) << cut;
  }
}

TEST_F(ResponseTimerTest, ChatContentCountsFromTheFirstNonEmpty) {
  ResponseTimer timer = Timer(Protocol::kOpenAiChat);
  timer.OnBytes("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
                At(0.25));
  timer.OnBytes("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n", At(0.5));
  timer.OnBytes("data: {\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n", At(0.75));
  timer.OnBytes("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", At(1));
  timer.OnEnd(At(2));
  const RequestOutcome outcome = timer.Take();
  EXPECT_NEAR(outcome.ttft, 0.5, kTiny);
  EXPECT_NEAR(outcome.latency, 1, kTiny);
  EXPECT_THAT(outcome.itl, ElementsAre(DoubleNear(0.25, kTiny)));
  EXPECT_EQ(outcome.output_tokens, 64) << "as asked for, where the server does not say";
}

TEST_F(ResponseTimerTest, AWholeReplyIsOneEvent) {
  ResponseTimer timer = Timer(Protocol::kOpenAiChat);
  timer.OnBytes(R"({"choices":[{"message":{"content":"yes"}}],)", At(0.5));
  timer.OnBytes(R"("usage":{"completion_tokens":3}})", At(0.75));
  timer.OnEnd(At(1));
  const RequestOutcome outcome = timer.Take();
  EXPECT_TRUE(outcome.success);
  EXPECT_NEAR(outcome.ttft, 1, kTiny);
  EXPECT_EQ(outcome.output_tokens, 3);
  EXPECT_EQ(outcome.generated_text, "yes");
}

TEST_F(ResponseTimerTest, ErrorsInTheStreamFailTheRequest) {
  ResponseTimer timer = Timer(Protocol::kSglangGenerate);
  timer.OnBytes("data: {\"text\": \"a\", \"meta_info\": {\"completion_tokens\": 1}}\n\n", At(1));
  timer.OnBytes("data: {\"error\": {\"message\": \"out of pages\"}}\n\ndata: [DONE]\n\n", At(2));
  timer.OnEnd(At(3));
  const RequestOutcome outcome = timer.Take();
  EXPECT_FALSE(outcome.success);
  EXPECT_EQ(outcome.error, "the server sent an error: out of pages");
}

TEST_F(ResponseTimerTest, RepliesThatAreNoJsonOrEmptyFail) {
  ResponseTimer html = Timer(Protocol::kOpenAiCompletions);
  html.OnBytes("<html>\n", At(1));
  html.OnEnd(At(1));
  EXPECT_THAT(html.Take().error, HasSubstr("no JSON object: <html>"));
  ResponseTimer empty = Timer(Protocol::kOpenAiCompletions);
  empty.OnEnd(At(1));
  EXPECT_EQ(empty.Take().error, "the server's reply is empty");
}

}  // namespace
}  // namespace weft::bench
