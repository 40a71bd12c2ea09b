#include "bench/datasets.h"

#include <simdjson.h>

#include <algorithm>

#include "bench/prompt_text.h"

namespace weft::bench {
namespace {

struct DrawnLengths {
  std::vector<int64_t> input;
  std::vector<int64_t> output;
};

/// All inputs first, then all outputs; a text loses the tokens that the server adds to it.
DrawnLengths DrawLengths(const RandomLengths& lengths, int count, bool as_ids,
                         const PromptTokenizer& tokenizer, NumpyRandom& numpy) {
  const auto draw = [&](int64_t full) {
    const auto least = static_cast<int64_t>(static_cast<double>(full) * lengths.range_ratio);
    return numpy.RandInt(std::max<int64_t>(least, 1), full + 1, count);
  };
  DrawnLengths drawn;
  drawn.input = draw(lengths.input);
  drawn.output = draw(lengths.output);
  if (!as_ids) {
    for (int64_t& length : drawn.input) {
      length = std::max<int64_t>(0, length - tokenizer.num_special_tokens_to_add());
    }
  }
  return drawn;
}

DatasetRow MakeRow(std::vector<TokenId> ids, int64_t prompt_tokens, int64_t output_tokens,
                   bool as_ids, const PromptTokenizer& tokenizer) {
  DatasetRow row;
  row.is_ids = as_ids;
  row.prompt_tokens = prompt_tokens;
  row.output_tokens = output_tokens;
  if (as_ids) {
    row.ids = std::move(ids);
  } else {
    row.text = tokenizer.Decode(ids);
  }
  return row;
}

void CutOrRepeat(std::vector<TokenId>& ids, size_t length) {
  const size_t given = ids.size();
  ids.resize(length);
  for (size_t i = given; i < length; ++i) ids[i] = ids[i - given];
}

}  // namespace

std::vector<DatasetRow> SampleRandomIds(const RandomLengths& lengths, int count, bool as_ids,
                                        const PromptTokenizer& tokenizer, DatasetRandom random) {
  const DrawnLengths drawn = DrawLengths(lengths, count, as_ids, tokenizer, random.numpy);
  const int64_t vocabulary = tokenizer.vocabulary_size();
  const std::vector<int64_t> offsets = random.numpy.RandInt(0, vocabulary, count);
  std::vector<DatasetRow> rows;
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    std::vector<TokenId> ids(static_cast<size_t>(drawn.input[index]));
    for (size_t j = 0; j < ids.size(); ++j) {
      ids[j] = static_cast<TokenId>((offsets[index] + i + static_cast<int64_t>(j)) % vocabulary);
    }
    rows.push_back(
        MakeRow(std::move(ids), drawn.input[index], drawn.output[index], as_ids, tokenizer));
  }
  return rows;
}

Result<std::vector<DatasetRow>> SampleRandomText(const RandomLengths& lengths, int count,
                                                 bool as_ids,
                                                 const std::optional<Conversations>& conversations,
                                                 const PromptTokenizer& tokenizer,
                                                 DatasetRandom random) {
  const DrawnLengths drawn = DrawLengths(lengths, count, as_ids, tokenizer, random.numpy);
  std::vector<size_t> order(conversations ? conversations->size() : static_cast<size_t>(count));
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (conversations) random.python.Shuffle(order);
  std::vector<DatasetRow> rows;
  for (const size_t source : order) {
    const size_t index = rows.size();
    if (index == static_cast<size_t>(count)) break;
    const std::string text = conversations ? (*conversations)[source].first : PromptPassage(source);
    WEFT_ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer.Encode(text, true));
    if (ids.empty()) continue;
    CutOrRepeat(ids, static_cast<size_t>(drawn.input[index]));
    rows.push_back(
        MakeRow(std::move(ids), drawn.input[index], drawn.output[index], as_ids, tokenizer));
  }
  if (rows.size() < static_cast<size_t>(count)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the dataset has {} prompts, --num-prompts asks for {}", rows.size(), count);
  }
  return rows;
}

Result<std::vector<DatasetRow>> SampleShareGpt(Conversations conversations, int count,
                                               const ShareGptOptions& options,
                                               const PromptTokenizer& tokenizer,
                                               PythonRandom& random) {
  constexpr std::string_view kAssistant = "Assistant:";
  random.Shuffle(conversations);
  std::vector<DatasetRow> rows;
  for (auto& [prompt, completion] : conversations) {
    if (rows.size() == static_cast<size_t>(count)) break;
    if (!options.prompt_suffix.empty()) {
      if (prompt.ends_with(kAssistant)) prompt.resize(prompt.size() - kAssistant.size());
      prompt.append(options.prompt_suffix).append(kAssistant);
    }
    WEFT_ASSIGN_OR_RETURN(const auto prompt_ids, tokenizer.Encode(prompt, true));
    WEFT_ASSIGN_OR_RETURN(const auto completion_ids, tokenizer.Encode(completion, true));
    DatasetRow row;
    row.prompt_tokens = static_cast<int64_t>(prompt_ids.size());
    row.output_tokens = options.output_tokens.value_or(static_cast<int64_t>(completion_ids.size()));
    if (row.prompt_tokens < 2 || row.output_tokens < 2) continue;
    if (options.context_tokens && row.prompt_tokens + row.output_tokens > *options.context_tokens) {
      continue;
    }
    row.text = std::move(prompt);
    rows.push_back(std::move(row));
  }
  if (rows.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "no conversation of the dataset is long enough, and within the context length"};
  }
  return rows;
}

Result<Conversations> ParseShareGpt(std::string json, std::string_view name) {
  const auto bad = [&](std::string_view what) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: {}; a ShareGPT dataset is a JSON array of {{\"conversations\": "
                     "[{{\"value\": ...}}, ...]}}",
                     name, what);
  };
  simdjson::dom::parser parser;
  simdjson::dom::array conversations;
  if (const auto error = parser.parse(json).get_array().get(conversations)) {
    return bad(simdjson::error_message(error));
  }
  Conversations pairs;
  for (const simdjson::dom::element conversation : conversations) {
    simdjson::dom::array turns;
    if (conversation["conversations"].get_array().get(turns) != simdjson::SUCCESS &&
        conversation["conversation"].get_array().get(turns) != simdjson::SUCCESS) {
      continue;
    }
    if (turns.size() < 2) continue;
    std::string_view prompt;
    std::string_view completion;
    if (turns.at(0)["value"].get_string().get(prompt) != simdjson::SUCCESS ||
        turns.at(1)["value"].get_string().get(completion) != simdjson::SUCCESS) {
      return bad("a turn has no \"value\" string");
    }
    pairs.emplace_back(prompt, completion);
  }
  return pairs;
}

}  // namespace weft::bench
