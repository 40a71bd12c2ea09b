#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/strong_id.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace weft::text {

/// Drops what a vocabulary's decoder drops at the start of a text.
class LeadingSpace {
 public:
  explicit LeadingSpace(DecodeStyle style) : style_(style) {}
  /// The next token's bytes without what is dropped.
  std::string_view Trim(std::string_view token_bytes);

 private:
  DecodeStyle style_;  // kBytes once nothing more is to be dropped.
};

/// Where in the text the first token handed to a Detokenizer lies.
enum class TextPosition {
  kStart,        ///< The text begins here: a leading metaspace is dropped where the file says so.
  kAfterPrompt,  ///< A prompt lies before: nothing is dropped.
};

/// Turns one sequence's tokens into text as they arrive. The concatenation of everything returned
/// equals Tokenizer::Decode of all the tokens, and each piece is valid UTF-8.
///
/// One owner, one thread at a time. O(bytes of the token) a call; holds at most three bytes back.
class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens,
              TextPosition position);

  /// The text that is decidable with this token and was not before: never half a character. Bytes
  /// that can no longer become one come out as U+FFFD at once.
  std::string Append(TokenId id);
  /// What was held back: U+FFFD for an unfinished character, else nothing. The next Append starts
  /// as if nothing had been held.
  std::string Finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  LeadingSpace leading_;
  Utf8Replacer replacer_;
};

}  // namespace weft::text
