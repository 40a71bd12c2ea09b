#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "adapter/adapter_record.h"
#include "base/clock.h"
#include "engine/request.h"
#include "memory/prefix_cache.h"

namespace weft::engine {

/// kWaiting has computed nothing yet; kSuspended has, and gave its pages up; kPaused has, and keeps
/// them until its adapter has a turn again. kEnding is over for its client, but a step that is
/// under way still reads its pages.
enum class SequenceState : uint8_t { kWaiting, kRunning, kSuspended, kPaused, kEnding };

/// One generation from arrival to its last event. Owned by the engine.
struct Sequence {
  RequestId id;
  GenerationRequest request;
  std::shared_ptr<EventSink> sink;
  SequenceState state = SequenceState::kWaiting;
  adapter::AdapterRecord* adapter = nullptr;  ///< Null: the base model.
  adapter::Lease lease;

  /// Prompt and output, with room for all that may come. Shared with steps under way, which read
  /// what was there when they were submitted.
  std::shared_ptr<std::vector<TokenId>> tokens;
  int32_t prompt_count = 0;
  int32_t computed = 0;         ///< Tokens whose KV is in `pages`.
  int32_t rows_under_way = 0;   ///< Tokens after those, which steps under way compute.
  int32_t pending_sample = -1;  ///< The step submitted last chooses its next token, as this sample.
  std::vector<PageIndex> pages;
  std::vector<memory::PrefixCache::NodeId>
      nodes;              ///< Of pages[0..nodes.size()): held in the prefix cache.
  bool publishes = true;  ///< Its pages still continue a run in the prefix cache.
  StepId last_step{0};    ///< The last submitted step that reads or writes its pages.

  std::shared_ptr<const ops::SamplingParams> sampling;
  std::shared_ptr<const std::vector<TokenId>> forbidden;  ///< Before min_new_tokens.
  std::vector<ops::SampledToken> prompt_logprobs;
  int32_t cached_tokens = 0;
  int32_t overtaken = 0;

  Moment arrived{};
  bool adapter_waited = false;  ///< Its adapter was not on the device when it arrived.
  Moment adapter_ready_at{};
  Moment first_scheduled{};
  Moment last_token{};
  Moment stands_since{};  ///< Arrival, or when it last stopped running.

  /// Its adapter's pages stay where they are.
  bool holds_adapter() const { return adapter == nullptr || lease; }
  bool has_kv() const {
    return state == SequenceState::kRunning || state == SequenceState::kPaused;
  }
  int32_t known() const { return static_cast<int32_t>(tokens->size()); }
  int32_t generated() const { return known() - prompt_count; }
  bool token_pending() const { return pending_sample >= 0; }
  /// As after the steps under way: tokens, and how many of them have KV.
  int32_t known_soon() const { return known() + (token_pending() ? 1 : 0); }
  int32_t computed_soon() const { return computed + rows_under_way; }
  AdapterVersion version() const { return adapter == nullptr ? kBaseModel : adapter->version; }
};

}  // namespace weft::engine
