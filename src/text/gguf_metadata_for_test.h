#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "text/tokenizer.h"

namespace weft::text {

/// The tokenizer.* metadata of a GGUF file, read without ceremony for tests of real vocabularies.
/// Aborts on a malformed file.
GgufVocabulary ReadGgufVocabularyForTest(const std::string& path);

}  // namespace weft::text
