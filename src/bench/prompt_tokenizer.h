#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "base/strong_id.h"

namespace weft::bench {

/// What a dataset needs of the model's tokenizer; an interface, so that datasets are tested without
/// a vocabulary. Immutable; any thread.
class PromptTokenizer {
 public:
  virtual ~PromptTokenizer() = default;
  /// With the special tokens that the tokenizer surrounds a text with, or without.
  virtual Result<std::vector<TokenId>> Encode(std::string_view text,
                                              bool add_special_tokens) const = 0;
  virtual std::string Decode(std::span<const TokenId> ids) const = 0;
  /// Size of the vocabulary without added tokens, transformers' `vocab_size`.
  virtual int32_t vocabulary_size() const = 0;
  virtual int32_t num_special_tokens_to_add() const = 0;
};

/// The tokenizer of a model directory, of a tokenizer.json, of a .gguf file, or of an "org/name" in
/// the Hugging Face cache. Blocks.
Result<std::unique_ptr<PromptTokenizer>> OpenPromptTokenizer(FileSystem& files,
                                                             const std::string& path);

}  // namespace weft::bench
