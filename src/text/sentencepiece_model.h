#pragma once

#include <string_view>

#include "base/result.h"
#include "text/tokenizer.h"

namespace weft::text {

/// The vocabulary in a sentencepiece file (tokenizer.model, a protocol buffer of type ModelProto in
/// sentencepiece_model.proto), in the form that a GGUF of the same model has. kUnsupported for
/// models other than BPE and for normalization beyond a space in front.
Result<GgufVocabulary> ReadSentencePieceModel(std::string_view bytes);

}  // namespace weft::text
