#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/model.h"
#include "text/pair_table.h"
#include "text/vocabulary.h"

namespace weft::text {

struct BpeOptions {
  TokenId unk = -1;            ///< For characters that the vocabulary lacks; -1: they vanish.
  bool fuse_unk = false;       ///< Several unknown characters in a row are one unk.
  bool byte_fallback = false;  ///< Unknown characters become tokens "<0xE2>" if all exist.
  bool ignore_merges = false;  ///< A piece that is a token is that token, whatever the merges.
};

/// Byte pair encoding with ranked merges, as `tokenizers` does it: of all neighbours that merge the
/// pair of lowest rank merges first, of equals the leftmost. O(n log n) in the piece's characters.
class BpeModel : public Model {
 public:
  using Merges = std::vector<std::pair<std::string_view, std::string_view>>;

  /// `vocabulary` must outlive the model; `merges` are read by rank. An error when a merge names a
  /// token that the vocabulary lacks.
  static Result<std::unique_ptr<Model>> Create(const Vocabulary& vocabulary, const Merges& merges,
                                               const BpeOptions& options);

  void Encode(std::string_view piece, std::vector<TokenId>& to) const override;

 private:
  static constexpr size_t kDirectCharacters = 0x400;

  struct Symbol {
    TokenId id = -1;
    int32_t previous = -1;
    int32_t next = -1;
  };
  struct Candidate {
    uint32_t rank = 0;
    int32_t left = 0;
    TokenId merged = -1;
    bool operator<(const Candidate& other) const {  // Of a max-heap: the best is the largest.
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  BpeModel(const Vocabulary& vocabulary, const BpeOptions& options);
  TokenId FindCharacter(std::string_view character) const;
  bool AppendBytes(std::string_view character, std::vector<Symbol>& to) const;
  void Cut(std::string_view piece, std::vector<Symbol>& symbols) const;
  void Merge(Scratch& scratch) const;
  void Consider(int32_t left, int32_t right, Scratch& scratch) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  PairTable merges_;
  std::array<TokenId, kDirectCharacters> direct_{};  // The commonest characters' ids; -1: none.
  std::array<TokenId, 256> byte_ids_{};              // Of "<0x00>" and so on; -1: none.
};

}  // namespace weft::text
