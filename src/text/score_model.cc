#include "text/score_model.h"

#include <algorithm>

#include "text/utf8.h"

namespace weft::text {

ScoreModel::ScoreModel(const Vocabulary& vocabulary, std::vector<float> scores, TokenId unk)
    : vocabulary_(vocabulary), scores_(std::move(scores)), unk_(unk) {
  scores_.resize(vocabulary.size());
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    longest_ = std::max(longest_, vocabulary.Text(id).size());
  }
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary.FindInModel(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

void ScoreModel::Cut(std::string_view piece, std::vector<Symbol>& symbols) const {
  for (size_t at = 0; at < piece.size();) {
    const auto index = static_cast<int32_t>(symbols.size());
    const size_t size = Utf8Length(piece[at]);
    symbols.push_back({at, size, index - 1, index + 1});
    at += size;
  }
  symbols.back().next = -1;
}

void ScoreModel::Consider(std::string_view piece, const std::vector<Symbol>& symbols, int32_t left,
                          std::vector<Candidate>& heap) const {
  if (left < 0 || symbols[left].next < 0) return;
  const size_t size = symbols[left].size + symbols[symbols[left].next].size;
  if (size > longest_) return;
  const std::optional<TokenId> token =
      vocabulary_.FindInModel(piece.substr(symbols[left].begin, size));
  if (token.has_value()) {
    heap.push_back({scores_[*token], left, size});
    std::push_heap(heap.begin(), heap.end());
  }
}

void ScoreModel::Emit(std::string_view text, std::vector<TokenId>& to) const {
  if (const std::optional<TokenId> token = vocabulary_.FindInModel(text)) {
    to.push_back(*token);
    return;
  }
  const bool has_bytes = std::all_of(text.begin(), text.end(), [&](char byte) {
    return byte_ids_[static_cast<unsigned char>(byte)] >= 0;
  });
  if (has_bytes) {
    for (const char byte : text) to.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  } else if (unk_ >= 0) {
    to.push_back(unk_);
  }
}

void ScoreModel::Encode(std::string_view piece, std::vector<TokenId>& to) const {
  if (piece.empty()) return;
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  Cut(piece, symbols);
  std::vector<Candidate> heap;
  for (size_t i = 0; i < symbols.size(); ++i) {
    Consider(piece, symbols, static_cast<int32_t>(i), heap);
  }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.size == 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    if (left.size + right.size != best.size) continue;  // One of them has grown since.
    left.size = best.size;
    right.size = 0;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = best.left;
    Consider(piece, symbols, left.previous, heap);
    Consider(piece, symbols, best.left, heap);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.size > 0) Emit(piece.substr(symbol.begin, symbol.size), to);
  }
}

}  // namespace weft::text
