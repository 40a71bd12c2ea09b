#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/strong_id.h"
#include "sim/random.h"

namespace weft::sim {

/// A "model" whose state after a token is a hash of the state before, the token and the adapter's
/// content. A wrong page anywhere in a sequence's history changes every token after it, as it would
/// with a real model.
struct VirtualModel {
  static constexpr int32_t kVocabulary = 50;
  static constexpr TokenId kEndToken = 0;

  static uint64_t Extend(uint64_t state, TokenId token, uint64_t adapter_content) {
    return Random::Mix(state * 3 + Random::Mix(static_cast<uint64_t>(token) + 1) + adapter_content);
  }
  static TokenId Choose(uint64_t state, uint64_t seed, int32_t position) {
    return static_cast<TokenId>(
        Random::Mix(state ^ Random::Mix(seed + static_cast<uint64_t>(position) * 7919)) %
        kVocabulary);
  }
  /// What a request must get: computed from its own data alone.
  static std::vector<TokenId> Generate(std::span<const TokenId> prompt, uint64_t adapter_content,
                                       uint64_t seed, int32_t max_new_tokens) {
    uint64_t state = 0;
    for (const TokenId token : prompt) state = Extend(state, token, adapter_content);
    std::vector<TokenId> output;
    auto position = static_cast<int32_t>(prompt.size());
    while (static_cast<int32_t>(output.size()) < max_new_tokens) {
      const TokenId token = Choose(state, seed, position++);
      if (token == kEndToken) break;
      output.push_back(token);
      state = Extend(state, token, adapter_content);
    }
    return output;
  }
};

}  // namespace weft::sim
