#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weft::checkpoint {

/// A regular expression from an adapter's config, written for Python's `re`. Whoever wrote it may
/// be hostile: length, nesting, memory and steps are bounded, and at a bound it is an error that
/// names the pattern, never a hang. One thread at a time.
class BoundedRegex {
 public:
  /// `field` is where the pattern stands, for messages.
  static Result<BoundedRegex> Compile(std::string_view pattern, std::string_view field);
  BoundedRegex(BoundedRegex&&) noexcept;
  BoundedRegex& operator=(BoundedRegex&&) noexcept;
  ~BoundedRegex();

  /// Python's re.fullmatch.
  Result<bool> FullMatch(std::string_view text) const;
  /// Python's re.match: from the beginning, not necessarily to the end.
  Result<bool> Match(std::string_view text) const;
  /// The number that the group named "idx" has in a re.match; empty when there is no match.
  Result<std::optional<int64_t>> MatchIndex(std::string_view text) const;

 private:
  struct Compiled;
  explicit BoundedRegex(std::unique_ptr<Compiled> compiled);
  Result<bool> Run(std::string_view text, bool whole) const;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace weft::checkpoint
