#include "text/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "text/utf8.h"

namespace weft::text {
namespace {

uint64_t Edge(int node, char byte) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(byte);
}

bool IsWhiteSpace(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE) != 0;
}

// \w as Unicode's UTS 18 has it.
bool IsWordCharacter(char32_t c) {
  const auto code_point = static_cast<UChar32>(c);
  const uint32_t categories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(code_point, UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(code_point, UCHAR_JOIN_CONTROL) != 0 ||
         (U_GET_GC_MASK(code_point) & categories) != 0;
}

size_t PreviousCharacter(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

// Where the white space that ends at `end` begins.
size_t SkipSpaceBackwards(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t at = PreviousCharacter(text, end);
    if (!IsWhiteSpace(DecodeUtf8(text, at).code_point)) break;
    end = at;
  }
  return end;
}

// Where the white space that begins at `begin` ends.
size_t SkipSpace(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Utf8Character character = DecodeUtf8(text, begin);
    if (!IsWhiteSpace(character.code_point)) break;
    begin += character.length;
  }
  return begin;
}

bool TouchesWord(std::string_view text, Span span) {
  if (span.begin > 0) {
    const size_t before = PreviousCharacter(text, span.begin);
    if (IsWordCharacter(DecodeUtf8(text, before).code_point)) return true;
  }
  return span.end < text.size() && IsWordCharacter(DecodeUtf8(text, span.end).code_point);
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens,
                                   const std::vector<std::string>& patterns)
    : tokens_(std::move(tokens)), token_at_(1, -1) {
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (!patterns[i].empty()) Insert(patterns[i], static_cast<int>(i));
  }
}

void AddedTokenFinder::Insert(std::string_view pattern, int token) {
  first_bytes_.set(static_cast<unsigned char>(pattern[0]));
  int node = 0;
  for (const char byte : pattern) {
    const auto [child, is_new] =
        children_.try_emplace(Edge(node, byte), static_cast<int>(token_at_.size()));
    if (is_new) token_at_.push_back(-1);
    node = child->second;
  }
  token_at_[node] = token;
}

std::optional<AddedTokenFinder::Match> AddedTokenFinder::FindNext(std::string_view text,
                                                                  size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!first_bytes_.test(static_cast<unsigned char>(text[begin]))) continue;
    Match match;
    int node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto child = children_.find(Edge(node, text[at]));
      if (child == children_.end()) break;
      node = child->second;
      if (token_at_[node] >= 0) match = {{begin, at + 1}, token_at_[node]};
    }
    if (match.token >= 0) return match;
  }
  return std::nullopt;
}

std::vector<Segment> AddedTokenFinder::Split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t done = 0;
  size_t from = 0;
  while (const std::optional<Match> match = FindNext(text, from)) {
    const AddedToken& token = tokens_[match->token];
    Span span = match->span;
    from = span.end;
    if (token.single_word && TouchesWord(text, span)) continue;
    if (token.lstrip) span.begin = std::max(SkipSpaceBackwards(text, span.begin), done);
    if (token.rstrip) span.end = SkipSpace(text, span.end);
    if (done < span.begin) segments.push_back({{done, span.begin}, std::nullopt});
    segments.push_back({span, token.id});
    done = span.end;
  }
  if (done < text.size()) segments.push_back({{done, text.size()}, std::nullopt});
  return segments;
}

}  // namespace weft::text
