#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "base/result.h"
#include "checkpoint/model_files.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace weft::cli {

/// What turns a model's text into tokens and back.
struct ModelText {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate>
      chat_template;    ///< Null: the model has none that works.
  std::string warning;  ///< Why the model's chat template does not work; empty when it does.
};

/// Makes them of the model's own texts. `tokenizer_path`: a tokenizer.json, or a folder with one,
/// to be taken instead; `chat_template`: a file with a template; empty: none. Blocks.
Result<ModelText> LoadModelText(FileSystem& files, const checkpoint::ModelFiles& model,
                                const std::string& tokenizer_path,
                                const std::string& chat_template);

}  // namespace weft::cli
