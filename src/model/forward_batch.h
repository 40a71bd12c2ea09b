#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/strong_id.h"
#include "ops/lora.h"
#include "ops/sampling.h"

namespace weft::model {

/// One sequence's part in a step. Its rows follow one another in the step's token list.
struct SequenceSlice {
  int32_t rows = 0;      ///< Tokens of it in this step; 1 when decoding.
  int32_t position = 0;  ///< Position of the first of them.
  /// Position p has its KV in pages[p / tokens per page]. Long enough for all rows.
  std::vector<PageIndex> pages;
  /// Null: the base model alone.
  std::shared_ptr<const ops::AdapterTable> adapter;
  /// Logits are computed for rows [first_logits_row, rows): rows - 1 for the last only, rows for
  /// none.
  int32_t first_logits_row = 0;
};

/// A row whose token was not known when its step was planned: the step before chooses it.
struct CarriedToken {
  int32_t row = 0;          ///< Into ForwardBatch::tokens.
  int32_t sample = 0;       ///< Into the samples of the step before.
  int32_t next_sample = 0;  ///< Into this step's samples: the row's own.
};

/// Everything one step computes. Rows of logits are numbered in the order of the slices.
struct ForwardBatch {
  std::vector<TokenId> tokens;
  std::vector<SequenceSlice> slices;
  std::vector<ops::SampleRow> samples;
  std::vector<CarriedToken> carried;

  /// Puts in what the step before chose, by its samples; none is carried any more. Where it chose
  /// none (its logits were broken) any token will do: that sequence is over.
  void TakeCarried(std::span<const TokenId> chosen);
  /// Whether a carried token has a say in what is chosen next: penalties count it. Else it is
  /// wanted by the device alone.
  bool ChoosesByCarried() const;
};

}  // namespace weft::model
