#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/strong_id.h"
#include "text/added_tokens.h"

namespace weft::text {

/// More ids than any vocabulary has; a larger one is a malformed file.
inline constexpr TokenId kLargestTokenId = (1 << 22) - 1;

/// Every token: its spelling in the file, its bytes, whether it is special. Filled once, then
/// immutable.
class Vocabulary {
 public:
  /// A token of the model. An error when the id is taken or out of range.
  Status Add(std::string_view text, TokenId id);
  /// An added token: its spelling takes precedence in Find. May name a token of the model.
  Status AddAdded(const AddedToken& token);
  void SetBytes(TokenId id, std::string bytes) { entries_[id].bytes = std::move(bytes); }
  void SetSpecial(TokenId id) { entries_[id].special = true; }

  int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  bool Contains(TokenId id) const { return id >= 0 && id < size() && entries_[id].present; }
  /// Empty when there is no such token, here and below.
  std::string_view Text(TokenId id) const {
    return Contains(id) ? std::string_view(entries_[id].text) : std::string_view();
  }
  std::string_view Bytes(TokenId id) const {
    return Contains(id) ? std::string_view(entries_[id].bytes) : std::string_view();
  }
  bool IsSpecial(TokenId id) const { return Contains(id) && entries_[id].special; }
  /// Among the model's tokens only.
  std::optional<TokenId> FindInModel(std::string_view text) const;
  /// Among the added tokens first.
  std::optional<TokenId> Find(std::string_view text) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Index = std::unordered_map<std::string, TokenId, Hash, std::equal_to<>>;
  struct Entry {
    std::string text;
    std::string bytes;
    bool present = false;
    bool special = false;
  };

  Status Reach(TokenId id);

  std::vector<Entry> entries_;  // By id.
  Index model_;
  Index added_;
};

}  // namespace weft::text
