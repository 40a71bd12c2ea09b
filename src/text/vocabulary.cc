#include "text/vocabulary.h"

namespace weft::text {

Status Vocabulary::Reach(TokenId id) {
  if (id < 0 || id > kLargestTokenId) {
    return MakeError(ErrorCode::kInvalidArgument, "token id {} is not within 0..{}", id,
                     kLargestTokenId);
  }
  if (id >= size()) entries_.resize(static_cast<size_t>(id) + 1);
  return OkStatus();
}

Status Vocabulary::Add(std::string_view text, TokenId id) {
  WEFT_RETURN_IF_ERROR(Reach(id));
  Entry& entry = entries_[id];
  if (entry.present) {
    return MakeError(ErrorCode::kInvalidArgument, "tokens \"{}\" and \"{}\" both have id {}",
                     entry.text, text, id);
  }
  entry.text = std::string(text);
  entry.present = true;
  model_.insert_or_assign(std::string(text), id);
  return OkStatus();
}

Status Vocabulary::AddAdded(const AddedToken& token) {
  WEFT_RETURN_IF_ERROR(Reach(token.id));
  Entry& entry = entries_[token.id];
  entry.text = token.content;
  entry.present = true;
  entry.special = entry.special || token.special;
  added_.insert_or_assign(token.content, token.id);
  return OkStatus();
}

std::optional<TokenId> Vocabulary::FindInModel(std::string_view text) const {
  const auto found = model_.find(text);
  return found == model_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<TokenId> Vocabulary::Find(std::string_view text) const {
  const auto found = added_.find(text);
  return found == added_.end() ? FindInModel(text) : std::optional(found->second);
}

}  // namespace weft::text
