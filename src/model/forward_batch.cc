#include "model/forward_batch.h"

#include <algorithm>

namespace weft::model {

void ForwardBatch::TakeCarried(std::span<const TokenId> chosen) {
  for (const CarriedToken& carry : carried) {
    const auto sample = static_cast<size_t>(carry.sample);
    const TokenId token = sample < chosen.size() ? std::max(chosen[sample], TokenId{0}) : 0;
    tokens[static_cast<size_t>(carry.row)] = token;
    samples[static_cast<size_t>(carry.next_sample)].last_token = token;
  }
  carried.clear();
}

bool ForwardBatch::ChoosesByCarried() const {
  return std::any_of(carried.begin(), carried.end(), [&](const CarriedToken& carry) {
    return samples[static_cast<size_t>(carry.next_sample)].params->HasPenalties();
  });
}

}  // namespace weft::model
