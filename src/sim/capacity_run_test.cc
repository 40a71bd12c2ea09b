#include "sim/capacity_run.h"

#include <gtest/gtest.h>

#include "ops/kv_layout.h"

namespace weft::sim {
namespace {

using std::chrono::milliseconds;

constexpr int32_t kRank = 8;

/// A small model on a machine whose steps take a millisecond whatever they compute, and whose disk
/// reads an image in about 20 ms.
CapacityScenario Small(int adapters) {
  CapacityScenario scenario;
  ModelConfig& model = scenario.model;
  model.vocabulary = 1000;
  model.hidden = 64;
  model.intermediate = 128;
  model.layers = 4;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 16;
  model.context_length = 4096;
  const ops::KvLayout kv = ops::KvLayout::For(model, scenario.dtype, 0);
  scenario.engine.page_count = 2000;
  scenario.engine.context_length = 4096;
  scenario.engine.limits.tokens_per_page = kv.tokens_per_page;
  scenario.engine.adapters.page_bytes = kv.page_bytes;
  scenario.engine.adapters.host_page_count = 2000;
  Hardware& hardware = scenario.hardware;
  hardware.memory_bytes = hardware.operations = hardware.adapter_operations = 1e18;
  hardware.copied_bytes = 1e9;
  hardware.read_bytes = 4e6;
  hardware.step = milliseconds(1);
  for (int i = 0; i < adapters; ++i)
    scenario.adapters.push_back({"adapter-" + std::to_string(i), kRank, 1.0});
  return scenario;
}

void AddRequest(CapacityScenario& scenario, Duration at, int adapter, int32_t new_tokens) {
  PlannedRequest request{at, adapter, {}, new_tokens};
  const auto first = static_cast<TokenId>(scenario.requests.size() * 20);
  for (TokenId token = 0; token < 20; ++token) request.prompt.push_back(first + token);
  scenario.requests.push_back(std::move(request));
}

Duration ToFirstToken(const PlannedReply& reply) { return reply.tokens.front() - reply.sent; }
Duration ToLastToken(const PlannedReply& reply) { return reply.tokens.back() - reply.sent; }

TEST(CapacityRun, ARequestAloneTakesAStepForEachToken) {
  CapacityScenario scenario = Small(0);
  AddRequest(scenario, milliseconds(5), -1, 10);
  const auto run = RunCapacity(scenario).runs.at(0);
  const PlannedReply& reply = run.replies.at(0);
  EXPECT_EQ(reply.sent - run.began, milliseconds(5));
  EXPECT_EQ(reply.tokens.size(), 10U);
  EXPECT_EQ(std::chrono::round<milliseconds>(ToFirstToken(reply)), milliseconds(1));
  EXPECT_EQ(std::chrono::round<milliseconds>(ToLastToken(reply)), milliseconds(10));
  EXPECT_EQ(run.ended - run.began, milliseconds(5) + ToLastToken(reply));
}

TEST(CapacityRun, TheClientsOwnLimitHoldsRequestsBack) {
  CapacityScenario scenario = Small(0);
  for (int i = 0; i < 4; ++i) AddRequest(scenario, Duration{}, -1, 10);
  scenario.max_concurrency = 1;
  const auto run = RunCapacity(scenario).runs.at(0);
  EXPECT_EQ(std::chrono::round<milliseconds>(run.ended - run.began), milliseconds(40));
  for (const PlannedReply& reply : run.replies)
    EXPECT_EQ(std::chrono::round<milliseconds>(ToLastToken(reply)), milliseconds(10));
}

TEST(CapacityRun, TheSecondRunFindsItsAdapters) {
  CapacityScenario scenario = Small(2);
  AddRequest(scenario, Duration{}, 1, 4);
  scenario.runs = 2;
  scenario.flush_cache = true;
  const CapacityOutcome outcome = RunCapacity(scenario);
  // The warm-up request brought in the other one.
  EXPECT_GT(ToFirstToken(outcome.runs.at(0).replies.at(0)), milliseconds(10));
  EXPECT_EQ(std::chrono::round<milliseconds>(ToFirstToken(outcome.runs.at(1).replies.at(0))),
            milliseconds(1));
  EXPECT_EQ(outcome.runs.at(0).stats.adapter_copied_bytes_total,
            outcome.runs.at(1).stats.adapter_copied_bytes_total);
}

TEST(CapacityRun, FilesOfTwiceTheBytesTakeTwiceAsLong) {
  CapacityScenario scenario = Small(2);
  AddRequest(scenario, Duration{}, 1, 1);
  const Duration once = ToFirstToken(RunCapacity(scenario).runs.at(0).replies.at(0));
  scenario.adapters.at(1).file_bytes_per_image_byte = 2;
  const Duration twice = ToFirstToken(RunCapacity(scenario).runs.at(0).replies.at(0));
  EXPECT_GT(twice, once * 18 / 10);
  EXPECT_LT(twice, once * 2);
}

TEST(CapacityRun, CapsAreOfAllReadersTogether) {
  CapacityScenario scenario = Small(3);
  AddRequest(scenario, Duration{}, 1, 1);
  AddRequest(scenario, Duration{}, 2, 1);
  const auto last = [&] {
    const auto run = RunCapacity(scenario).runs.at(0);
    return std::max(ToFirstToken(run.replies.at(0)), ToFirstToken(run.replies.at(1)));
  };
  const Duration free = last();
  scenario.read_bytes_per_second = 4'000'000;  // As one reader alone: two take twice as long.
  const Duration capped = last();
  EXPECT_GT(capped, free * 18 / 10);
  EXPECT_LT(capped, free * 22 / 10);
  scenario.copy_bytes_per_second = 100'000;
  EXPECT_GT(last(), capped * 4);
}

/// The decode that runs when an adapter is read stands still under the one policy alone.
TEST(CapacityRun, PoliciesAreTheEnginesOwn) {
  CapacityScenario scenario = Small(2);
  AddRequest(scenario, Duration{}, 0, 100);
  AddRequest(scenario, milliseconds(10), 1, 4);
  scenario.engine.load_policy = adapter::LoadPolicyKind::kOverlapped;
  const Duration overlapped = ToLastToken(RunCapacity(scenario).runs.at(0).replies.at(0));
  scenario.engine.load_policy = adapter::LoadPolicyKind::kBlocking;
  const Duration blocking = ToLastToken(RunCapacity(scenario).runs.at(0).replies.at(0));
  EXPECT_EQ(std::chrono::round<milliseconds>(overlapped), milliseconds(100));
  EXPECT_GT(blocking, milliseconds(110));
}

TEST(CapacityRun, WhatTheServerRefusesSaysWhy) {
  CapacityScenario scenario = Small(0);
  AddRequest(scenario, Duration{}, -1, 10);
  AddRequest(scenario, Duration{}, -1, 5000);
  const auto run = RunCapacity(scenario).runs.at(0);
  ASSERT_TRUE(run.replies.at(1).finish.has_value());
  EXPECT_EQ(run.replies.at(1).finish->type, engine::FinishType::kError);
  EXPECT_FALSE(run.replies.at(1).finish->error.message.empty());
  EXPECT_EQ(run.replies.at(0).tokens.size(), 10U);
}

}  // namespace
}  // namespace weft::sim
