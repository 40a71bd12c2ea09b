#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "bench/bench_options.h"
#include "bench/metrics.h"

namespace weft::bench {

/// What a finished run says.
struct Report {
  Metrics metrics;
  std::optional<std::string> server_info;  ///< JSON text, as the server gave it.
  std::optional<double> accept_length;     ///< Speculative decoding's, where the server has it.
};

/// bench_serving's table, character for character, from the empty line before it.
std::string RenderTable(const BenchOptions& options, const Report& report);

/// bench_serving's JSON line: its keys in its order, then percentiles that it leaves out; with
/// `--output-details` each request's numbers. No newline.
std::string RenderJsonLine(const BenchOptions& options, const Report& report,
                           std::span<const RequestOutcome> outcomes);

/// The file that the JSON line is appended to: `--output-file`, or bench_serving's name for the
/// day, `month_day` as "1122".
std::string OutputFileName(const BenchOptions& options, const std::string& month_day);

/// Blocks.
Status AppendLine(const std::string& path, const std::string& line);

}  // namespace weft::bench
