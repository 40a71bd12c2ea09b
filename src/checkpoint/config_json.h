#pragma once

#include <string_view>

#include "base/result.h"
#include "checkpoint/model_config.h"

namespace weft::checkpoint {

/// Parses config.json as transformers 4 or 5 writes it, with the end-of-text ids that
/// generation_config.json (may be empty) adds. Every number is checked for range and divisibility.
/// What Weft does not serve (another architecture, activation, rope scaling, biases in the MLP,
/// quantised weights) is a kUnsupported error that names it and what is supported. A sliding window
/// shorter than the context caps the context and says so in the config's notes. Pure.
Result<ModelConfig> ParseConfigJson(std::string_view config_json,
                                    std::string_view generation_config_json);

}  // namespace weft::checkpoint
