#pragma once

#include <string>

#include "text/tokenizer.h"

namespace weft::text {

/// The tokenizer.* metadata of a GGUF file, read without ceremony for tests of real vocabularies.
/// Aborts on a malformed file.
GgufVocabulary ReadGgufVocabularyForTest(const std::string& path);

/// tokenizer.chat_template of a GGUF file; empty when there is none.
std::string ReadGgufChatTemplateForTest(const std::string& path);

}  // namespace weft::text
