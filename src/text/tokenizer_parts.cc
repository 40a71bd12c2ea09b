#include "text/tokenizer_parts.h"

namespace weft::text {

Status TokenizerParts::SetAddedTokens(const std::vector<AddedToken>& tokens) {
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  std::vector<std::string> raw_patterns;
  std::vector<std::string> normalized_patterns;
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    WEFT_RETURN_IF_ERROR(vocabulary.AddAdded(token));
    std::string pattern = token.content;
    if (token.normalized) {
      WEFT_RETURN_IF_ERROR(normalizer.Normalize(pattern));
      normalized.push_back(token);
      normalized_patterns.push_back(std::move(pattern));
    } else {
      raw.push_back(token);
      raw_patterns.push_back(std::move(pattern));
    }
  }
  raw_added_tokens = AddedTokenFinder(std::move(raw), raw_patterns);
  normalized_added_tokens = AddedTokenFinder(std::move(normalized), normalized_patterns);
  return OkStatus();
}

Status TokenizerParts::EncodeText(std::string_view text, std::vector<TokenId>& to) const {
  for (const Segment& outer : raw_added_tokens.Split(text)) {
    if (outer.id.has_value()) {
      to.push_back(*outer.id);
      continue;
    }
    std::string normalized(text.substr(outer.span.begin, outer.span.size()));
    WEFT_RETURN_IF_ERROR(normalizer.Normalize(normalized));
    for (const Segment& inner : normalized_added_tokens.Split(normalized)) {
      if (inner.id.has_value()) {
        to.push_back(*inner.id);
        continue;
      }
      const bool at_text_start = outer.span.begin == 0 && inner.span.begin == 0;
      const std::string_view plain =
          std::string_view(normalized).substr(inner.span.begin, inner.span.size());
      WEFT_RETURN_IF_ERROR(EncodePlain(plain, at_text_start, to));
    }
  }
  return OkStatus();
}

Status TokenizerParts::EncodePlain(std::string_view text, bool at_text_start,
                                   std::vector<TokenId>& to) const {
  if (text.empty()) return OkStatus();
  Pieces pieces{std::string(text), {{0, text.size()}}, at_text_start};
  WEFT_RETURN_IF_ERROR(pre_tokenizer.Split(pieces));
  for (const Span& span : pieces.spans) {
    model->Encode(std::string_view(pieces.text).substr(span.begin, span.size()), to);
  }
  return OkStatus();
}

}  // namespace weft::text
