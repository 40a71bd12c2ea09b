#include "bench/report.h"

#include <gtest/gtest.h>

#include "bench/json_text.h"
#include "bench/metrics.h"
#include "bench/reference_vectors.h"

namespace weft::bench {
namespace {

std::vector<RequestOutcome> OutcomesOf(simdjson::dom::element list) {
  std::vector<RequestOutcome> outcomes;
  for (const auto given : Elements(list)) {
    RequestOutcome outcome;
    outcome.success = given["success"].get_bool().value();
    outcome.error = Text(given["error"]);
    outcome.prompt_tokens = given["prompt_tokens"].get_int64().value();
    outcome.output_tokens = given["output_tokens"].get_int64().value();
    outcome.start = given["start"].get_double().value();
    outcome.latency = given["latency"].get_double().value();
    outcome.ttft = given["ttft"].get_double().value();
    outcome.itl = Doubles(given["itl"]);
    outcome.generated_text = Text(given["text"]);
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() : expected_(ReadVectors(parser_, "report.json")) {
    outcomes_ = OutcomesOf(expected_["outcomes"]);
    int64_t retokenized = 0;  // A token is a character there.
    for (const RequestOutcome& outcome : outcomes_) {
      retokenized += static_cast<int64_t>(outcome.generated_text.size());
    }
    report_.metrics =
        CalculateMetrics(outcomes_, expected_["duration"].get_double().value(), retokenized);
    options_.dataset_name = DatasetName::kRandomIds;
    options_.num_prompts = 30;
    options_.request_rate = 4.0;
    options_.random = {64, 32, 0.0};
    options_.max_concurrency = 8;
    options_.tag = "t";
    options_.output_details = true;
  }

  simdjson::dom::parser parser_;
  simdjson::dom::element expected_;
  std::vector<RequestOutcome> outcomes_;
  Report report_;
  BenchOptions options_;
};

TEST_F(ReportTest, TableIsBenchServings) {
  EXPECT_EQ(RenderTable(options_, report_), Text(expected_["table"]));
}

TEST_F(ReportTest, JsonLineIsBenchServingsWithMorePercentiles) {
  std::string line = RenderJsonLine(options_, report_, outcomes_);
  const size_t more = line.find(", \"p95_e2e_latency_ms\"");
  const size_t details = line.find(", \"input_lens\"");
  ASSERT_LT(more, details);
  line.erase(more, details - more);
  EXPECT_EQ(line, Text(expected_["line"]));
}

TEST_F(ReportTest, AllFailedIsZeros) {
  for (RequestOutcome& outcome : outcomes_) outcome.success = false;
  const Metrics metrics = CalculateMetrics(outcomes_, 2.0, 0);
  EXPECT_EQ(metrics.completed, 0);
  EXPECT_EQ(metrics.max_concurrent_requests, 0);
  EXPECT_EQ(metrics.e2e_latency.p99, 0);
}

TEST_F(ReportTest, FileIsNamedAsBenchServingNamesIt) {
  EXPECT_EQ(OutputFileName(options_, "1122"), "sglang_1122_30_64_32.jsonl");
  options_.dataset_name = DatasetName::kShareGpt;
  EXPECT_EQ(OutputFileName(options_, "1122"), "sglang_1122_30_sharegpt.jsonl");
  options_.output_file = "x";
  EXPECT_EQ(OutputFileName(options_, "1122"), "x");
}

TEST(JsonTextTest, FloatsAreWrittenAsPythonDoes) {
  EXPECT_EQ(PythonFloat(4, "inf"), "4.0");
  EXPECT_EQ(PythonFloat(0.1, "inf"), "0.1");
  EXPECT_EQ(PythonFloat(1e-5, "inf"), "1e-05");
  EXPECT_EQ(PythonFloat(123456789012345680.0, "inf"), "1.2345678901234568e+17");
  EXPECT_EQ(PythonFloat(1e16, "inf"), "1e+16");
  EXPECT_EQ(PythonFloat(HUGE_VAL, "inf"), "inf");
}

TEST(JsonTextTest, StringsAreEscaped) {
  EXPECT_EQ(JsonString("a\"\\\n\x01é"), "\"a\\\"\\\\\\n\\u0001é\"");
}

}  // namespace
}  // namespace weft::bench
