#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "bench/prompt_tokenizer.h"
#include "bench/reference_random.h"

namespace weft::bench {

/// One prompt to send. `ids` instead of `text` when the client tokenizes (`--tokenize-prompt`).
struct DatasetRow {
  std::string text;
  std::vector<TokenId> ids;
  bool is_ids = false;
  int64_t prompt_tokens = 0;  ///< As drawn; the server may count a few more or fewer in the text.
  int64_t output_tokens = 0;
};

/// The two draws behind a dataset, in bench_serving's order of use.
struct DatasetRandom {
  NumpyRandom& numpy;
  PythonRandom& python;
};

struct RandomLengths {
  int64_t input = 1024;
  int64_t output = 1024;
  double range_ratio = 0.0;
};

/// (prompt, completion) pairs: the first two turns of ShareGPT's conversations.
using Conversations = std::vector<std::pair<std::string, std::string>>;

/// `random-ids`: a run of consecutive token ids from a random start, decoded to text unless
/// `as_ids`.
std::vector<DatasetRow> SampleRandomIds(const RandomLengths& lengths, int count, bool as_ids,
                                        const PromptTokenizer& tokenizer, DatasetRandom random);

/// `random`: prompts of `conversations`, shuffled, cut or repeated to the drawn lengths. Without
/// conversations Weft's own passages (prompt_text.h) take their place, in order.
Result<std::vector<DatasetRow>> SampleRandomText(const RandomLengths& lengths, int count,
                                                 bool as_ids,
                                                 const std::optional<Conversations>& conversations,
                                                 const PromptTokenizer& tokenizer,
                                                 DatasetRandom random);

struct ShareGptOptions {
  std::optional<int64_t> output_tokens;   ///< Instead of the completion's own length.
  std::optional<int64_t> context_tokens;  ///< Longer ones are left out.
  std::string prompt_suffix;
};

/// `sharegpt`: the conversations' own prompts and lengths.
Result<std::vector<DatasetRow>> SampleShareGpt(Conversations conversations, int count,
                                               const ShareGptOptions& options,
                                               const PromptTokenizer& tokenizer,
                                               PythonRandom& random);

/// Parses ShareGPT's JSON: an array of {"conversations": [{"value": ...}, ...]}. Conversations of
/// one turn are left out. `name` is for messages. Pure.
Result<Conversations> ParseShareGpt(std::string json, std::string_view name);

}  // namespace weft::bench
