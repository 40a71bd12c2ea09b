#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weft::text {

/// A part of a text, in bytes.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  bool operator==(const Span&) const = default;
};

/// A compiled regular expression with Oniguruma's meaning (onig_pattern.h), run by PCRE2's JIT.
/// Immutable; any thread may match (each has its own JIT stack of up to 256 MiB, taken as needed).
class Regex {
 public:
  static Result<Regex> Compile(std::string_view oniguruma_pattern);
  /// Matches `literal` itself.
  static Result<Regex> Literal(std::string_view literal);

  /// All matches in well-formed UTF-8, in order and without overlap; an empty match right after a
  /// match does not count. An error when a match takes too many steps or too much memory:
  /// matches are never dropped.
  Status FindAll(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;
  static Result<Regex> CompilePcre2(std::string_view pattern, std::string_view shown);

  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

  std::shared_ptr<const Code> code_;
};

}  // namespace weft::text
