#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace weft::text {

/// What a reference library makes of a text (tests/reference/make_tokenizer_vectors.py).
struct Vector {
  std::string name;
  std::string text;
  std::vector<TokenId> ids;
  std::optional<std::string> decoded;  ///< Where decoding gives another text.
};

/// Aborts on a malformed file.
std::vector<Vector> ReadVectorsForTest(const std::string& path);

/// The whole file; aborts when there is none.
std::string ReadFileForTest(const std::string& path);

/// Expects that Encode gives the ids, and that Decode and a Detokenizer give the text again.
void ExpectVectors(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<Vector>& vectors);

}  // namespace weft::text
