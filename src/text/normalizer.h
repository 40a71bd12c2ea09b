#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/regex.h"

namespace weft::text {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// Puts `text` before a text that is not empty.
struct PrependText {
  std::string text;
};

/// Replaces every match by `content`.
struct ReplaceText {
  Regex pattern;
  std::string content;
};

/// Each character's own lower case.
struct LowercaseText {};

using NormalizerStep = std::variant<UnicodeForm, PrependText, ReplaceText, LowercaseText>;

/// What a tokenizer does to a text before anything else, step by step. Immutable; any thread.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  /// Normalizes well-formed UTF-8 in place.
  Status Normalize(std::string& text) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace weft::text
