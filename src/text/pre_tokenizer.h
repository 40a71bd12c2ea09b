#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/regex.h"

namespace weft::text {

/// What becomes of the matches of a split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Cuts every piece at the matches of a pattern; inverted: at what lies between them.
struct SplitText {
  Regex pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

/// Which pieces get a space in front, unless they have one.
enum class PrependScheme { kNever, kFirst, kAlways };

/// Spells spaces as `spelling` and puts one in front of pieces.
struct MarkSpaces {
  std::string spelling;
  PrependScheme prepend = PrependScheme::kNever;
};

/// Spells bytes as characters (byte_level.h).
struct SpellBytes {};

using PreTokenizerStep = std::variant<SplitText, MarkSpaces, SpellBytes>;

/// A text cut into pieces, none of them empty; the model sees one piece at a time.
struct Pieces {
  std::string text;
  std::vector<Span> spans;     ///< In order, inside text; parts of the text may be left out.
  bool at_text_start = false;  ///< The first piece begins the text that was handed in.
};

/// Cuts a normalized text into pieces, step by step. Immutable; any thread may call.
class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  Status Split(Pieces& pieces) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace weft::text
