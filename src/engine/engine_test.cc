// The engine with a real model, real adapters, real threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "base/source_folder_for_test.h"
#include "base/thread_role.h"
#include "engine/served_model_for_test.h"

namespace weft::engine {
namespace {

using adapter::LoadPolicyKind;

/// Ranks below, at and above a tile, and different projections.
const std::map<std::string, std::string> kAdapters = {
    {"small", "r3"}, {"usual", "r8"}, {"queries", "q-v-r16"}, {"large", "r40-float16"}};

GenerationRequest Request(const std::string& adapter, int32_t prompt_length, int32_t new_tokens,
                          uint64_t seed) {
  GenerationRequest request;
  request.adapter = adapter;
  for (int32_t i = 0; i < prompt_length; ++i) {
    request.prompt.push_back(
        static_cast<TokenId>((i * 37 + 11 * static_cast<int32_t>(seed)) % 260));
  }
  request.max_new_tokens = new_tokens;
  request.ignore_eos = true;
  request.want_logprobs = true;
  request.top_logprobs = 3;
  request.sampling.seed = seed;
  request.has_seed = true;
  return request;
}

/// Every adapter and none; greedy, sampled, and sampled with penalties.
std::vector<GenerationRequest> Requests() {
  std::vector<GenerationRequest> all;
  for (const char* adapter : {"", "small", "usual", "queries", "large", "usual"}) {
    const auto n = static_cast<int32_t>(all.size());
    GenerationRequest request = Request(adapter, 5 + n * 13, 24, static_cast<uint64_t>(n + 1));
    if (n % 3 == 0) request.sampling.temperature = 0;
    if (n % 3 == 1) request.sampling.temperature = 0.8F;
    if (n % 3 == 2) {
      request.sampling.temperature = 1.3F;
      request.sampling.top_p = 0.95F;
      request.sampling.top_k = 60;
      request.sampling.repetition_penalty = 1.2F;
      request.sampling.presence_penalty = 0.5F;
      request.sampling.frequency_penalty = 0.3F;
    }
    all.push_back(std::move(request));
  }
  return all;
}

void RegisterAll(ServedModel& served) {
  for (const auto& [name, folder] : kAdapters) served.Register(name, folder);
}

/// Each request in an engine of its own.
const std::vector<Answer>& Alone() {
  static const std::vector<Answer> answers = [] {
    std::vector<Answer> each;
    for (const GenerationRequest& request : Requests()) {
      ServedModel served({});
      RegisterAll(served);
      each.push_back(served.Run(request));
    }
    return each;
  }();
  return answers;
}

/// Equal to the last bit.
void ExpectSame(const Answer& answer, const Answer& expected) {
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->type, FinishType::kLength) << answer.finish->error.message;
  ASSERT_EQ(answer.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < answer.tokens.size(); ++i) {
    const ops::SampledToken& is = answer.tokens[i];
    const ops::SampledToken& should = expected.tokens[i];
    ASSERT_EQ(is.token, should.token) << "token " << i;
    ASSERT_EQ(std::bit_cast<uint32_t>(is.logprob), std::bit_cast<uint32_t>(should.logprob))
        << "token " << i << ": " << is.logprob << " and " << should.logprob;
    ASSERT_EQ(is.top, should.top) << "token " << i;
  }
}

/// All at once.
EngineStats ExpectAllAsAlone(const Setup& setup) {
  ServedModel served(setup);
  RegisterAll(served);
  std::vector<RequestId> ids;
  for (GenerationRequest& request : Requests()) ids.push_back(served.Submit(std::move(request)));
  for (size_t i = 0; i < ids.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    ExpectSame(served.answers().Wait(ids[i]), Alone()[i]);
  }
  EXPECT_EQ(served.answers().events_after_last(), 0);
  // A request's end is told before the numbers of its last turn are.
  for (int i = 0; i < 100 && served.engine().Stats().running > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return served.engine().Stats();
}

TEST(P4, AdaptersChangeTheAnswer) {
  ServedModel served({});
  RegisterAll(served);
  std::set<std::vector<TokenId>> answers;
  for (const char* adapter : {"", "small", "usual", "queries", "large"}) {
    GenerationRequest request = Request(adapter, 20, 16, 5);
    request.sampling.temperature = 0;
    std::vector<TokenId> tokens;
    for (const auto& token : served.Run(std::move(request)).tokens) tokens.push_back(token.token);
    EXPECT_EQ(tokens.size(), 16u);
    answers.insert(tokens);
  }
  EXPECT_EQ(answers.size(), 5u);
}

class P4Batches : public ::testing::TestWithParam<std::tuple<LoadPolicyKind, int32_t, int32_t>> {};

TEST_P(P4Batches, MixedBatchIsBitEqualToAlone) {
  const auto& [policy, chunk, steps_in_flight] = GetParam();
  ExpectAllAsAlone({.policy = policy, .chunk = chunk, .steps_in_flight = steps_in_flight});
}

INSTANTIATE_TEST_SUITE_P(
    PoliciesChunksAndStepsInFlight, P4Batches,
    ::testing::Combine(::testing::Values(LoadPolicyKind::kBlocking, LoadPolicyKind::kOverlapped),
                       ::testing::Values(3, 16, 512), ::testing::Values(1, 2)));

TEST(P4, LateAdaptersAreBitEqualToAlone) {
  ExpectAllAsAlone({.chunk = 16, .read_bytes_per_second = 2'000'000});
}

TEST(P4, PrefixHitIsBitEqualToAlone) {
  ServedModel served({.prefix_cache = true});
  RegisterAll(served);
  std::vector<GenerationRequest> requests = Requests();
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    ExpectSame(served.Run(requests[i]), Alone()[i]);
    const Answer again = served.Run(requests[i]);
    ExpectSame(again, Alone()[i]);
    EXPECT_EQ(again.cached_tokens, static_cast<int32_t>(requests[i].prompt.size() - 1) / 16 * 16);
  }
}

class P4StepsInFlight : public ::testing::TestWithParam<int32_t> {};

INSTANTIATE_TEST_SUITE_P(OneAndTwo, P4StepsInFlight, ::testing::Values(1, 2));

/// Of the tokens that end a request only the first counts, whatever was computed behind it; nobody
/// else notices.
TEST(P4, AStopTokenEndsARequestWithTwoStepsInFlight) {
  const Answer whole = Alone()[0];
  const TokenId stop = whole.tokens[10].token;
  ServedModel served({.steps_in_flight = 2});
  RegisterAll(served);
  GenerationRequest stopping = Requests()[0];
  stopping.stop_token_ids = {stop};
  const RequestId id = served.Submit(std::move(stopping));
  const RequestId other = served.Submit(Requests()[1]);
  const Answer answer = served.answers().Wait(id);
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->type, FinishType::kStop);
  ASSERT_TRUE(answer.finish->matched.has_value());
  EXPECT_EQ(answer.finish->matched->token, stop);
  size_t first = 0;
  while (whole.tokens[first].token != stop) ++first;
  EXPECT_EQ(answer.finish->matched->logprob, whole.tokens[first].logprob);
  EXPECT_EQ(answer.tokens.size(), first);
  ExpectSame(served.answers().Wait(other), Alone()[1]);
  EXPECT_EQ(served.answers().events_after_last(), 0);
}

/// The pool has room for three of the six, and they outgrow it.
TEST_P(P4StepsInFlight, SuspendedAndResumedIsBitEqualToAlone) {
  ServedModel alone({});
  ServedModel served({.pages = 1 + 14, .steps_in_flight = GetParam()});
  std::vector<GenerationRequest> requests;
  std::vector<RequestId> ids;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    requests.push_back(Request("", 30, 100, seed));
    requests.back().sampling.temperature = 0.9F;
    requests.back().sampling.frequency_penalty = 0.4F;
    ids.push_back(served.Submit(requests.back()));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    ExpectSame(served.answers().Wait(ids[i]), alone.Run(requests[i]));
  }
  served.Stop(Duration{});
  EXPECT_GT(served.engine().Stats().suspensions_total, 0u);
}

/// Adapters take turns in one place. Their images are in host memory, so that all want it at once.
TEST_P(P4StepsInFlight, PausedAndGoneOnIsBitEqualToAlone) {
  ServedModel served({.chunk = 16,
                      .steps_in_flight = GetParam(),
                      .adapters_per_step = 1,
                      .turn_patience = std::chrono::microseconds(1)});
  RegisterAll(served);
  const std::vector<GenerationRequest> requests = Requests();
  for (const GenerationRequest& request : requests) served.Run(request);
  std::vector<RequestId> ids;
  for (const GenerationRequest& request : requests) ids.push_back(served.Submit(request));
  for (size_t i = 0; i < ids.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    ExpectSame(served.answers().Wait(ids[i]), Alone()[i]);
  }
  served.Stop(Duration{});
  EXPECT_GT(served.engine().Stats().pauses_total, 0u);
  EXPECT_EQ(served.engine().Stats().suspensions_total, 0u);
}

TEST(P1DeathTest, ReadingAFileOnTheEngineThreadAborts) {
  EXPECT_DEATH(
      {
        const EngineThreadScope scope;
        (void)LocalFiles().ReadText(SourceFolder() + "/CMakeLists.txt");
      },
      "P1");
}

TEST(P1DeathTest, TheEngineThreadIsMarkedAsOne) {
  EXPECT_DEATH(
      {
        ServedModel served({});
        served.engine().ListAdapters([](const std::vector<AdapterInfo>&) {
          (void)LocalFiles().ReadText(SourceFolder() + "/CMakeLists.txt");
        });
        std::this_thread::sleep_for(std::chrono::seconds(10));
      },
      "P1");
}

TEST(P8, LogitsThatAreNoNumbersEndTheirRequestAlone) {
  ServedModel served({});
  GenerationRequest broken = Request("", 10, 8, 1);
  for (TokenId token = 0; token < 272; ++token) {
    // Biases add up, here to minus infinity.
    broken.sampling.logit_bias.emplace_back(token, std::numeric_limits<float>::lowest());
    broken.sampling.logit_bias.emplace_back(token, std::numeric_limits<float>::lowest());
  }
  const RequestId id = served.Submit(std::move(broken));
  const RequestId other = served.Submit(Request("", 10, 8, 1));
  const Answer answer = served.answers().Wait(id);
  ASSERT_TRUE(answer.finish.has_value());
  EXPECT_EQ(answer.finish->type, FinishType::kError);
  EXPECT_THAT(answer.finish->error.message, ::testing::HasSubstr("no usable logits"));
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(served.answers().Wait(other).tokens.size(), 8u);
}

TEST(EngineThread, StoppingEndsEveryRequestSoon) {
  ServedModel served({.read_bytes_per_second = 100'000});
  RegisterAll(served);
  std::vector<RequestId> ids;
  for (uint64_t seed = 1; seed <= 4; ++seed)
    ids.push_back(served.Submit(Request("", 20, 200, seed)));
  for (const char* adapter : {"usual", "large", "usual"}) {
    ids.push_back(served.Submit(Request(adapter, 20, 200, 9)));
  }
  EXPECT_FALSE(served.answers().WaitForToken(ids[0]).tokens.empty());
  const auto begin = std::chrono::steady_clock::now();
  served.Stop(Duration{});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  int aborted = 0;
  for (const RequestId id : ids) {
    const Answer answer = served.answers().Wait(id);
    ASSERT_TRUE(answer.finish.has_value());
    aborted += answer.finish->type == FinishType::kAbort ? 1 : 0;
  }
  EXPECT_GT(aborted, 0);
  EXPECT_EQ(served.answers().events_after_last(), 0);
  const RequestId late = served.Submit(Request("", 5, 5, 1));
  EXPECT_EQ(served.answers().Wait(late).finish->type, FinishType::kError);
}

struct Span {
  double begin = 0;
  double end = 0;
};

/// Spans of the trace by the name of their track.
std::map<std::string, std::vector<Span>> SpansByTrack(const std::string& json) {
  simdjson::dom::parser parser;
  const simdjson::dom::element trace = parser.parse(json);
  std::map<std::pair<int64_t, int64_t>, std::string> names;
  std::map<std::string, std::vector<Span>> spans;
  for (const simdjson::dom::element event : trace["traceEvents"]) {
    const std::string_view kind = event["ph"];
    if (std::string_view(event["name"]) != "thread_name" || kind != "M") continue;
    names[{event["pid"], event["tid"]}] = std::string_view(event["args"]["name"]);
  }
  for (const simdjson::dom::element event : trace["traceEvents"]) {
    if (std::string_view(event["ph"]) != "X") continue;
    const double begin = event["ts"];
    const double length = event["dur"];
    spans[names.at({event["pid"], event["tid"]})].push_back({begin, begin + length});
  }
  return spans;
}

bool Overlap(const std::vector<Span>& some, const std::vector<Span>& others) {
  for (const Span& a : some) {
    for (const Span& b : others) {
      if (a.begin < b.end && b.begin < a.end) return true;
    }
  }
  return false;
}

TEST(Trace, StepsRunWhileAdaptersAreReadAndCopied) {
  ServedModel served(
      {.trace = true, .read_bytes_per_second = 1'000'000, .copy_bytes_per_second = 1'000'000});
  RegisterAll(served);
  const RequestId decode = served.Submit(Request("", 20, 230, 1));
  served.answers().WaitForToken(decode);
  const RequestId loading = served.Submit(Request("usual", 20, 4, 2));
  const RequestId other = served.Submit(Request("small", 20, 4, 3));
  EXPECT_EQ(served.answers().Wait(loading).tokens.size(), 4u);
  EXPECT_EQ(served.answers().Wait(other).tokens.size(), 4u);
  EXPECT_EQ(served.answers().Wait(decode).tokens.size(), 230u);
  served.Stop(Duration{});
  auto spans = SpansByTrack(served.trace().Json());
  ASSERT_FALSE(spans["compute"].empty());
  ASSERT_FALSE(spans["copy"].empty());
  ASSERT_FALSE(spans["usual"].empty());
  // From the adapter's first byte read to its last page copied, steps ran. The stretches in which a
  // loader thread or the copy thread was busy are microseconds long here: they lie between the
  // first step and the last.
  EXPECT_TRUE(Overlap(spans["compute"], spans["usual"]));
  const Span decoding{spans["compute"].front().begin, spans["compute"].back().end};
  EXPECT_TRUE(Overlap({decoding}, spans["copy"]));
  EXPECT_TRUE(Overlap({decoding}, spans["loader 0"]) || Overlap({decoding}, spans["loader 1"]));
}

}  // namespace
}  // namespace weft::engine
