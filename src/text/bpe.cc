#include "text/bpe.h"

#include <algorithm>

#include "text/utf8.h"

namespace weft::text {

Result<std::unique_ptr<Model>> BpeModel::Create(const Vocabulary& vocabulary, const Merges& merges,
                                                const BpeOptions& options) {
  std::unique_ptr<BpeModel> model(new BpeModel(vocabulary, options));
  model->merges_ = PairTable(merges.size());
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined.assign(left).append(right);
    const std::optional<TokenId> left_id = vocabulary.FindInModel(left);
    const std::optional<TokenId> right_id = vocabulary.FindInModel(right);
    const std::optional<TokenId> merged = vocabulary.FindInModel(joined);
    if (!left_id.has_value() || !right_id.has_value() || !merged.has_value()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "merge {} (\"{}\" \"{}\") names a token that is not in the vocabulary", rank,
                       left, right);
    }
    model->merges_.Insert(*left_id, *right_id, {static_cast<uint32_t>(rank), *merged});
  }
  return std::unique_ptr<Model>(std::move(model));
}

BpeModel::BpeModel(const Vocabulary& vocabulary, const BpeOptions& options)
    : vocabulary_(vocabulary), options_(options), merges_(0) {
  std::string character;
  for (size_t i = 0; i < kDirectCharacters; ++i) {
    character.clear();
    AppendUtf8(static_cast<char32_t>(i), character);
    direct_[i] = vocabulary.FindInModel(character).value_or(-1);
  }
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary.FindInModel(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

TokenId BpeModel::FindCharacter(std::string_view character) const {
  if (character.size() <= 2) {
    const char32_t code_point = DecodeUtf8(character, 0).code_point;
    if (code_point < kDirectCharacters) return direct_[code_point];
  }
  return vocabulary_.FindInModel(character).value_or(-1);
}

bool BpeModel::AppendBytes(std::string_view character, std::vector<Symbol>& to) const {
  for (const char byte : character) {
    if (byte_ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : character) to.push_back({byte_ids_[static_cast<unsigned char>(byte)]});
  return true;
}

void BpeModel::Cut(std::string_view piece, std::vector<Symbol>& symbols) const {
  symbols.clear();
  bool unk_pending = false;
  for (size_t at = 0; at < piece.size();) {
    const std::string_view character = piece.substr(at, Utf8Length(piece[at]));
    at += character.size();
    const TokenId id = FindCharacter(character);
    if (id >= 0) {
      if (unk_pending) symbols.push_back({options_.unk});
      unk_pending = false;
      symbols.push_back({id});
      continue;
    }
    // As in `tokenizers`, bytes overtake a pending unk.
    if (options_.byte_fallback && AppendBytes(character, symbols)) continue;
    if (options_.unk < 0) continue;
    if (unk_pending && !options_.fuse_unk) symbols.push_back({options_.unk});
    unk_pending = true;
  }
  if (unk_pending) symbols.push_back({options_.unk});
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
}

void BpeModel::Consider(int32_t left, int32_t right, Scratch& scratch) const {
  if (left < 0 || right < 0) return;
  const PairMerge* merge = merges_.Look(scratch.symbols[left].id, scratch.symbols[right].id);
  if (merge == nullptr) return;
  scratch.heap.push_back({merge->rank, left, merge->merged});
  std::push_heap(scratch.heap.begin(), scratch.heap.end());
}

void BpeModel::Merge(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  scratch.heap.clear();
  for (size_t i = 1; i < symbols.size(); ++i) {
    const PairMerge* merge = merges_.Look(symbols[i - 1].id, symbols[i].id);
    if (merge != nullptr) {
      scratch.heap.push_back({merge->rank, static_cast<int32_t>(i) - 1, merge->merged});
    }
  }
  std::make_heap(scratch.heap.begin(), scratch.heap.end());
  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end());
    const Candidate best = scratch.heap.back();
    scratch.heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // One of the two may have merged with another since.
    const PairMerge* merge = merges_.Look(left.id, right.id);
    if (merge == nullptr || merge->merged != best.merged) continue;
    left.id = best.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    Consider(left.previous, best.left, scratch);
    Consider(best.left, left.next, scratch);
  }
}

void BpeModel::Encode(std::string_view piece, std::vector<TokenId>& to) const {
  if (piece.empty()) return;
  if (options_.ignore_merges) {
    if (const std::optional<TokenId> whole = vocabulary_.FindInModel(piece)) {
      to.push_back(*whole);
      return;
    }
  }
  thread_local Scratch scratch;
  Cut(piece, scratch.symbols);
  Merge(scratch);
  for (const Symbol& symbol : scratch.symbols) {
    if (symbol.id >= 0) to.push_back(symbol.id);
  }
  constexpr size_t kKept = 1 << 16;  // Scratch of a huge piece is given back.
  if (scratch.symbols.capacity() > kKept) scratch = Scratch();
}

}  // namespace weft::text
