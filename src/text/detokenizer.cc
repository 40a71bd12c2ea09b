#include "text/detokenizer.h"

namespace weft::text {

std::string_view LeadingSpace::Trim(std::string_view token_bytes) {
  switch (style_) {
    case DecodeStyle::kBytes:
      return token_bytes;
    case DecodeStyle::kDropSpace:
      if (token_bytes.empty()) return token_bytes;  // The text has not begun yet.
      if (token_bytes.front() == ' ') token_bytes.remove_prefix(1);
      break;
    case DecodeStyle::kDropFirstSpaces:
      while (token_bytes.starts_with(' ')) token_bytes.remove_prefix(1);
      break;
  }
  style_ = DecodeStyle::kBytes;
  return token_bytes;
}

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens,
                         TextPosition position)
    : tokenizer_(std::move(tokenizer)),
      skip_special_tokens_(skip_special_tokens),
      leading_(position == TextPosition::kStart ? tokenizer_->decode_style()
                                                : DecodeStyle::kBytes) {}

std::string Detokenizer::Append(TokenId id) {
  std::string text;
  const bool exists = !tokenizer_->TokenText(id).empty();
  if (!exists || (skip_special_tokens_ && tokenizer_->IsSpecial(id))) return text;
  replacer_.Append(leading_.Trim(tokenizer_->TokenBytes(id)), text);
  return text;
}

std::string Detokenizer::Finish() {
  std::string text;
  replacer_.Finish(text);
  return text;
}

}  // namespace weft::text
