#pragma once

#include <filesystem>
#include <memory>
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
  std::vector<TokenId> with_special;   ///< With SpecialTokens::kAdd; as ids where not given.
  std::optional<std::string> decoded;  ///< Where decoding gives another text.
};

/// Aborts on a malformed file.
std::vector<Vector> ReadVectorsForTest(const std::string& path);

/// The whole file; aborts when there is none.
std::string ReadFileForTest(const std::string& path);

/// Where scripts/fetch-test-vocabularies puts real vocabularies: $WEFT_VOCABULARIES, or
/// ~/.cache/weft/vocabularies.
std::string VocabulariesForTest();

/// Expects that Encode gives the ids, and that Decode and a Detokenizer give the text again.
void ExpectVectors(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<Vector>& vectors);

}  // namespace weft::text

/// Skips the test, and says why, when a file of the real vocabularies is not there.
#define WEFT_SKIP_WITHOUT(path)                                                             \
  if (!std::filesystem::exists(path)) {                                                     \
    GTEST_SKIP() << (path) << " is not there: run scripts/fetch-test-vocabularies, or set " \
                 << "WEFT_VOCABULARIES to where its vocabularies lie";                      \
  }
