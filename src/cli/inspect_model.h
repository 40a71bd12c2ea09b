#pragma once

#include <string>

#include "base/dtype.h"
#include "base/file.h"
#include "cli/inspection.h"

namespace weft::cli {

/// What is in the model directory or GGUF file at `path`, and whether `weft serve --device cpu`
/// would load it: headers, shapes, tokenizer and chat template are checked as serving does. `full`:
/// the weights are read and packed too, which takes their memory. Blocks.
Inspection InspectModel(FileSystem& files, const std::string& path, DType dtype, bool full);

}  // namespace weft::cli
