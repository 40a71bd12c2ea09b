#include "bench/datasets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/source_folder_for_test.h"
#include "bench/arrivals.h"
#include "bench/prompt_text.h"
#include "bench/reference_vectors.h"

namespace weft::bench {
namespace {

using ::testing::HasSubstr;

/// A token is a character: ids are code points minus 32, as in make_bench_vectors.py.
class SpellingTokenizer final : public PromptTokenizer {
 public:
  explicit SpellingTokenizer(int32_t special) : special_(special) {}
  Result<std::vector<TokenId>> Encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(c - 32);
    return ids;
  }
  std::string Decode(std::span<const TokenId> ids) const override {
    std::string text;
    for (const TokenId id : ids) text += static_cast<char>(32 + id);
    return text;
  }
  int32_t vocabulary_size() const override { return 90; }
  int32_t num_special_tokens_to_add() const override { return special_; }

 private:
  int32_t special_;
};

int64_t IntOr(simdjson::dom::element options, std::string_view key, int64_t otherwise) {
  int64_t value = 0;
  return options[key].get_int64().get(value) == simdjson::SUCCESS ? value : otherwise;
}

RandomLengths LengthsOf(simdjson::dom::element options) {
  RandomLengths lengths = {IntOr(options, "random_input_len", 1024),
                           IntOr(options, "random_output_len", 1024), 0.0};
  double ratio = 0;
  if (options["random_range_ratio"].get_double().get(ratio) == simdjson::SUCCESS) {
    lengths.range_ratio = ratio;
  }
  return lengths;
}

ArrivalOptions ArrivalsOf(simdjson::dom::element expected) {
  const simdjson::dom::element options = expected["options"].value();
  ArrivalOptions arrivals;
  double rate = 0;
  arrivals.request_rate = options["request_rate"].get_double().get(rate) == simdjson::SUCCESS
                              ? rate
                              : std::numeric_limits<double>::infinity();
  arrivals.adapters = static_cast<int>(expected["adapter_count"].get_int64().value());
  std::string_view distribution;
  if (options["lora_request_distribution"].get_string().get(distribution) == simdjson::SUCCESS) {
    arrivals.distribution =
        distribution == "distinct" ? AdapterDistribution::kDistinct : AdapterDistribution::kSkewed;
  }
  return arrivals;
}

/// What bench_serving sent, against rows and arrivals.
void ExpectSame(simdjson::dom::element expected, const std::vector<DatasetRow>& rows,
                const std::vector<Arrival>& arrivals, const PromptTokenizer& tokenizer) {
  std::vector<int64_t> prompt_tokens;
  std::vector<int64_t> output_tokens;
  std::vector<int64_t> adapters;
  for (size_t i = 0; i < rows.size(); ++i) {
    prompt_tokens.push_back(rows[i].prompt_tokens);
    output_tokens.push_back(rows[i].output_tokens);
    adapters.push_back(arrivals[i].adapter);
  }
  EXPECT_EQ(prompt_tokens, Ints(expected["prompt_tokens"]));
  EXPECT_EQ(output_tokens, Ints(expected["output_tokens"]));
  EXPECT_EQ(adapters, Ints(expected["adapters"]));
  size_t i = 0;
  for (const auto start : Elements(expected["prompt_starts"])) {
    const DatasetRow& row = rows.at(i++);
    if (row.is_ids) {
      const std::vector<int64_t> ids = Ints(start);
      EXPECT_EQ(
          std::vector<int64_t>(row.ids.begin(), row.ids.begin() + static_cast<int64_t>(ids.size())),
          ids);
    } else {
      EXPECT_EQ(row.text.substr(0, 8), Text(start));
      EXPECT_EQ(row.text.size(), tokenizer.Encode(row.text, true)->size());
    }
  }
  const std::vector<double> gaps = Doubles(expected["gaps"]);
  double at = 0;
  for (size_t k = 0; k < gaps.size(); ++k) {
    EXPECT_NEAR(Seconds(arrivals[k].at), at, 1e-8 * static_cast<double>(k + 1)) << k;
    at += gaps[k];
  }
  EXPECT_TRUE(!gaps.empty() || arrivals.back().at == Duration::zero());
}

TEST(DatasetsTest, RandomIdsSendsWhatBenchServingSends) {
  simdjson::dom::parser parser;
  for (const auto expected : Elements(ReadVectors(parser, "workloads.json"))) {
    SCOPED_TRACE(Text(expected["name"]));
    const simdjson::dom::element options = expected["options"].value();
    const SpellingTokenizer tokenizer(
        static_cast<int32_t>(expected["special_tokens"].get_int64().value()));
    const auto seed = static_cast<uint64_t>(IntOr(options, "seed", 1));
    const int count = static_cast<int>(IntOr(options, "num_prompts", 1000));
    NumpyRandom numpy(static_cast<uint32_t>(seed));
    PythonRandom python(seed);
    bool as_ids = false;
    if (options["tokenize_prompt"].get_bool().get(as_ids) != simdjson::SUCCESS) as_ids = false;
    const std::vector<DatasetRow> rows =
        SampleRandomIds(LengthsOf(options), count, as_ids, tokenizer, {numpy, python});
    const std::vector<Arrival> arrivals = DrawArrivals(ArrivalsOf(expected), count, numpy, python);
    ExpectSame(expected, rows, arrivals, tokenizer);
  }
}

TEST(DatasetsTest, W1SendsItsKnownTokens) {
  const SpellingTokenizer tokenizer(1);
  NumpyRandom numpy(1);
  PythonRandom python(1);
  int64_t in = 0;
  int64_t out = 0;
  for (const DatasetRow& row :
       SampleRandomIds({2048, 1024, 0.0}, 100, false, tokenizer, {numpy, python})) {
    in += row.prompt_tokens;
    out += row.output_tokens;
  }
  EXPECT_EQ(in, 108829);
  EXPECT_EQ(out, 52444);
}

TEST(DatasetsTest, ConversationsAreUsedAsBenchServingDoes) {
  const std::string path = SourceFolder() + "/tests/data/bench/sharegpt.json";
  const SpellingTokenizer tokenizer(1);
  simdjson::dom::parser parser;
  for (const auto expected : Elements(ReadVectors(parser, "conversations.json"))) {
    SCOPED_TRACE(Text(expected["name"]));
    const simdjson::dom::element options = expected["options"].value();
    auto conversations = ParseShareGpt(*LocalFiles().ReadText(path), path);
    ASSERT_TRUE(conversations.ok()) << conversations.error().message;
    const int count = static_cast<int>(IntOr(options, "num_prompts", 1000));
    NumpyRandom numpy(1);
    PythonRandom python(1);
    const bool cut = Text(expected["name"]) == "random";
    ShareGptOptions share_gpt;
    share_gpt.context_tokens = 90;
    share_gpt.prompt_suffix = " Think first. ";
    const auto rows = cut ? SampleRandomText(LengthsOf(options), count, false, *conversations,
                                             tokenizer, {numpy, python})
                          : SampleShareGpt(*conversations, count, share_gpt, tokenizer, python);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    const auto arrivals = DrawArrivals(ArrivalsOf(expected), count, numpy, python);
    ExpectSame(expected, *rows, arrivals, tokenizer);
  }
}

TEST(DatasetsTest, RandomWithoutAFileDrawsTheSameLengthsAndAdaptersFromOwnText) {
  const SpellingTokenizer tokenizer(1);
  NumpyRandom numpy_ids(1), numpy_text(1);
  PythonRandom python_ids(1), python_text(1);
  const auto ids = SampleRandomIds({4096, 64, 0.0}, 20, false, tokenizer, {numpy_ids, python_ids});
  const auto text = SampleRandomText({4096, 64, 0.0}, 20, false, std::nullopt, tokenizer,
                                     {numpy_text, python_text});
  ASSERT_TRUE(text.ok());
  std::set<std::string> starts;
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ((*text)[i].prompt_tokens, ids[i].prompt_tokens);
    EXPECT_EQ((*text)[i].output_tokens, ids[i].output_tokens);
    EXPECT_EQ((*text)[i].text.size(), static_cast<size_t>(ids[i].prompt_tokens));
    starts.insert((*text)[i].text.substr(0, 60));
  }
  EXPECT_EQ(starts.size(), text->size());
  EXPECT_EQ(python_ids.Below(1000), python_text.Below(1000));
}

TEST(DatasetsTest, TooFewPromptsAndBadFilesSayWhatIsWrong) {
  const SpellingTokenizer tokenizer(0);
  NumpyRandom numpy(1);
  PythonRandom python(1);
  const Conversations one = {{"hello", "world"}};
  const auto rows = SampleRandomText({8, 8, 0.0}, 2, false, one, tokenizer, {numpy, python});
  ASSERT_FALSE(rows.ok());
  EXPECT_EQ(rows.error().message, "the dataset has 1 prompts, --num-prompts asks for 2");
  EXPECT_THAT(ParseShareGpt("{\"a\":1}", "f.json").error().message, HasSubstr("f.json: "));
  EXPECT_THAT(ParseShareGpt("[{\"conversations\":[{\"value\":1},{}]}]", "f.json").error().message,
              HasSubstr("a turn has no \"value\" string"));
}

TEST(PromptTextTest, PassagesAreLongAndRepeatable) {
  EXPECT_EQ(PromptPassage(3), PromptPassage(3));
  EXPECT_NE(PromptPassage(3), PromptPassage(4));
  EXPECT_GT(PromptPassage(0).size(), 800U);
}

}  // namespace
}  // namespace weft::bench
