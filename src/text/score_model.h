#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "text/model.h"
#include "text/vocabulary.h"

namespace weft::text {

/// Sentencepiece's BPE: of all neighbours that together are a token, the pair whose token has the
/// highest score merges first, of equals the leftmost. Characters that are no token become the
/// tokens of their bytes, or unk. O(n log n) in the piece's characters.
class ScoreModel : public Model {
 public:
  /// `vocabulary` must outlive the model; `scores` are by id; `unk` may be -1: unknown characters
  /// vanish.
  ScoreModel(const Vocabulary& vocabulary, std::vector<float> scores, TokenId unk);

  void Encode(std::string_view piece, std::vector<TokenId>& to) const override;

 private:
  struct Symbol {
    size_t begin = 0;
    size_t size = 0;  // 0: merged into the one before.
    int32_t previous = -1;
    int32_t next = -1;
  };
  struct Candidate {
    float score = 0;
    int32_t left = 0;
    size_t size = 0;                                // Of both symbols, as they were then.
    bool operator<(const Candidate& other) const {  // Of a max-heap: the best is the largest.
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  void Cut(std::string_view piece, std::vector<Symbol>& symbols) const;
  void Consider(std::string_view piece, const std::vector<Symbol>& symbols, int32_t left,
                std::vector<Candidate>& heap) const;
  void Emit(std::string_view text, std::vector<TokenId>& to) const;

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;
  TokenId unk_;
  size_t longest_ = 0;                   // Bytes of the longest token.
  std::array<TokenId, 256> byte_ids_{};  // Of "<0x00>" and so on; -1: none.
};

}  // namespace weft::text
