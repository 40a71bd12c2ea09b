#pragma once

#include <cstddef>
#include <string>

namespace weft::bench {

/// English-like prose made from small word lists, about 200 words, the same for the same index and
/// different for different ones from the first sentence on (so that prompts share no prefix). It
/// stands in for the ShareGPT prompts that `--dataset-name random` cuts and repeats.
std::string PromptPassage(size_t index);

}  // namespace weft::bench
