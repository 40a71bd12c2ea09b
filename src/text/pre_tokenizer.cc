#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/byte_level.h"

namespace weft::text {
namespace {

struct Part {
  Span span;
  bool match = false;
};

// The matches and what lies between them, without gaps.
void ListParts(const std::vector<Span>& matches, size_t size, bool invert,
               std::vector<Part>& parts) {
  parts.clear();
  size_t done = 0;
  for (const Span& match : matches) {
    if (match.begin != done) parts.push_back({{done, match.begin}, invert});
    parts.push_back({match, !invert});
    done = match.end;
  }
  if (done != size) parts.push_back({{done, size}, invert});
}

// A match joins the part before it; of several matches in a row only the first does.
void MergeWithPrevious(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !merged.empty()) {
      merged.back().span.end = part.span.end;
    } else {
      merged.push_back(part);
    }
    previous = part.match;
  }
  parts = std::move(merged);
}

// A match joins the part after it; of several matches in a row only the last does.
void MergeWithNext(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !previous && !merged.empty()) {
      merged.back().span.begin = part->span.begin;
    } else {
      merged.push_back(*part);
    }
    previous = part->match;
  }
  std::reverse(merged.begin(), merged.end());
  parts = std::move(merged);
}

// Neighbours of one kind become one part.
void JoinNeighbours(std::vector<Part>& parts) {
  std::vector<Part> joined;
  for (const Part& part : parts) {
    if (!joined.empty() && joined.back().match == part.match) {
      joined.back().span.end = part.span.end;
    } else {
      joined.push_back(part);
    }
  }
  parts = std::move(joined);
}

void ApplyBehavior(SplitBehavior behavior, std::vector<Part>& parts) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      return;
    case SplitBehavior::kMergedWithPrevious:
      MergeWithPrevious(parts);
      return;
    case SplitBehavior::kMergedWithNext:
      MergeWithNext(parts);
      return;
    case SplitBehavior::kContiguous:
      JoinNeighbours(parts);
      return;
  }
}

Status Apply(const SplitText& step, Pieces& pieces) {
  std::vector<Span> spans;
  spans.reserve(pieces.spans.size());
  std::vector<Span> matches;
  std::vector<Part> parts;
  for (const Span& piece : pieces.spans) {
    const std::string_view text = std::string_view(pieces.text).substr(piece.begin, piece.size());
    WEFT_RETURN_IF_ERROR(step.pattern.FindAll(text, matches));
    ListParts(matches, text.size(), step.invert, parts);
    ApplyBehavior(step.behavior, parts);
    for (const Part& part : parts) {
      if (part.span.size() == 0) continue;
      spans.push_back({piece.begin + part.span.begin, piece.begin + part.span.end});
    }
  }
  pieces.at_text_start =
      pieces.at_text_start && !spans.empty() && spans.front().begin == pieces.spans.front().begin;
  pieces.spans = std::move(spans);
  return OkStatus();
}

Status Apply(const MarkSpaces& step, Pieces& pieces) {
  if (step.spelling == " " && step.prepend == PrependScheme::kNever) return OkStatus();
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  for (size_t i = 0; i < pieces.spans.size(); ++i) {
    Span& span = pieces.spans[i];
    const std::string_view piece = std::string_view(pieces.text).substr(span.begin, span.size());
    const bool chosen = step.prepend == PrependScheme::kAlways ||
                        (step.prepend == PrependScheme::kFirst && i == 0 && pieces.at_text_start);
    const bool has_space = piece.starts_with(' ') || piece.starts_with(step.spelling);
    span.begin = text.size();
    if (chosen && !has_space) text.append(step.spelling);
    for (const char c : piece) {
      if (c == ' ') {
        text.append(step.spelling);
      } else {
        text.push_back(c);
      }
    }
    span.end = text.size();
  }
  pieces.text = std::move(text);
  return OkStatus();
}

Status Apply(const SpellBytes&, Pieces& pieces) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 2);
  for (Span& span : pieces.spans) {
    const size_t begin = text.size();
    AppendByteLevel(std::string_view(pieces.text).substr(span.begin, span.size()), text);
    span = {begin, text.size()};
  }
  pieces.text = std::move(text);
  return OkStatus();
}

}  // namespace

Status PreTokenizer::Split(Pieces& pieces) const {
  for (const PreTokenizerStep& step : steps_) {
    WEFT_RETURN_IF_ERROR(std::visit([&](const auto& s) { return Apply(s, pieces); }, step));
  }
  return OkStatus();
}

}  // namespace weft::text
