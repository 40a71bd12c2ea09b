#pragma once

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "base/source_folder_for_test.h"

namespace weft::bench {

/// tests/data/bench/NAME, as tests/reference/make_bench_vectors.py wrote it. For tests.
inline simdjson::dom::element ReadVectors(simdjson::dom::parser& parser, const std::string& name) {
  return parser.load(SourceFolder() + "/tests/data/bench/" + name).value();
}

inline std::vector<simdjson::dom::element> Elements(simdjson::dom::element list) {
  const simdjson::dom::array array = list.get_array().value();
  return {array.begin(), array.end()};
}

inline std::vector<int64_t> Ints(simdjson::dom::element list) {
  std::vector<int64_t> values;
  for (const auto value : Elements(list)) values.push_back(value.get_int64().value());
  return values;
}

inline std::vector<double> Doubles(simdjson::dom::element list) {
  std::vector<double> values;
  for (const auto value : Elements(list)) values.push_back(value.get_double().value());
  return values;
}

inline std::string Text(simdjson::dom::element value) {
  return std::string(value.get_string().value());
}

}  // namespace weft::bench
