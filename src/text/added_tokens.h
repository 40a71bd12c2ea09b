#pragma once

#include <bitset>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/strong_id.h"
#include "text/regex.h"

namespace weft::text {

/// A token that is found in the text as it stands, before the model sees anything.
struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false;  ///< Only where no word character touches it.
  bool lstrip = false;       ///< Takes the white space before it along.
  bool rstrip = false;       ///< Takes the white space after it along.
  bool normalized = false;   ///< Looked for in the normalized text.
  bool special = false;      ///< skip_special_tokens leaves it out.
};

/// A part of a text: an added token, or what lies between.
struct Segment {
  Span span;
  std::optional<TokenId> id;
};

/// Finds added tokens in a text: leftmost first, of several that begin at one place the longest.
/// Immutable; any thread may call. O(bytes of the text x length of the longest token) at worst.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  /// `patterns` are the tokens' contents as they appear in the text that is searched.
  AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns);

  /// Cuts `text` into segments, in order, none of them empty unless the token is.
  std::vector<Segment> Split(std::string_view text) const;

 private:
  struct Match {
    Span span;
    int token = -1;
  };

  void Insert(std::string_view pattern, int token);
  std::optional<Match> FindNext(std::string_view text, size_t from) const;

  std::vector<AddedToken> tokens_;
  std::bitset<256> first_bytes_;
  std::unordered_map<uint64_t, int> children_;  // (node << 8 | byte) -> node; node 0 is the root.
  std::vector<int> token_at_;                   // By node; -1: none ends here.
};

}  // namespace weft::text
