#include "base/bytes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace weft {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"KiB", 1024.0},
                                          {"MiB", 1048576.0},
                                          {"GiB", 1073741824.0},
                                          {"TiB", 1099511627776.0},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12}}};

}  // namespace

Result<Bytes> ParseBytes(std::string_view text) {
  double number = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && number >= 0 && std::isfinite(number)) {
    std::string_view suffix(rest, end - rest);
    for (const Unit& unit : kUnits) {
      if (suffix != unit.name) continue;
      const double bytes = number * unit.factor;
      if (bytes < 9e18) return static_cast<Bytes>(bytes);
    }
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "'{}' is not a size; write a number with KiB, MiB, GiB, KB, MB or GB, "
                   "such as 512MiB",
                   text);
}

std::string FormatBytes(Bytes bytes) {
  constexpr std::array<Unit, 4> kShown = {
      {{"TiB", 1099511627776.0}, {"GiB", 1073741824.0}, {"MiB", 1048576.0}, {"KiB", 1024.0}}};
  for (const Unit& unit : kShown) {
    if (static_cast<double>(bytes) >= unit.factor) {
      return fmt::format("{:.4g} {}", static_cast<double>(bytes) / unit.factor, unit.name);
    }
  }
  return fmt::format("{} B", bytes);
}

}  // namespace weft
