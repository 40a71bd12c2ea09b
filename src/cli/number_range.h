#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <concepts>
#include <string>

namespace weft::cli {

/// A flag's number from `low` to `high`. Unlike CLI::Range it says of a word that it is none.
template <typename Number>
requires std::integral<Number> || std::floating_point<Number> CLI::Validator NumberRange(
    Number low, Number high) {
  constexpr bool kWhole = std::integral<Number>;
  const auto check = [low, high](const std::string& given) -> std::string {
    double any = 0;
    if (!CLI::detail::lexical_cast(given, any))
      return fmt::format("'{}' is not a {}number", given, kWhole ? "whole " : "");
    Number number{};
    const bool is_one = CLI::detail::lexical_cast(given, number);
    if (is_one && number >= low && number <= high) return {};
    const bool fraction = kWhole && !is_one && any >= low && any <= high;
    return fraction ? fmt::format("{} is not a whole number", given)
                    : fmt::format("{} is not in the range {} to {}", given, low, high);
  };
  return CLI::Validator(check, fmt::format("{} in [{} - {}]", kWhole ? "INT" : "FLOAT", low, high));
}

}  // namespace weft::cli
