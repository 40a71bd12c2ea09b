#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/gguf.h"

namespace weft::checkpoint {

/// What a GGUF's metadata says about its tokenizer ("tokenizer.ggml.*"), as it stands there. A
/// special token that the file does not name is -1.
struct GgufVocabulary {
  std::string model;  ///< "gpt2", "llama", ...
  std::string pre;    ///< Name of the splitting regex: "smollm", "llama-bpe", ...
  std::vector<std::string> tokens;
  std::vector<int32_t> types;  ///< One a token, or empty.
  std::vector<float> scores;   ///< One a token, or empty.
  std::vector<std::string> merges;
  TokenId bos = -1;
  TokenId eos = -1;
  TokenId unk = -1;
  TokenId pad = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = true;
};

/// Takes the vocabulary out of a parsed header, and checks that lengths agree and ids are in range.
Result<GgufVocabulary> ParseGgufVocabulary(const GgufHeader& header, std::string_view name);

}  // namespace weft::checkpoint
