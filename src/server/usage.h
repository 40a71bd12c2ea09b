#pragma once

#include <cstdint>
#include <string>

#include "server/generation.h"

namespace weft::server {

/// What a request is charged: each prompt once, every choice's tokens.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};

Usage CountUsage(const Choices& choices);
/// OpenAI's "usage" object.
void AppendUsage(const Usage& usage, std::string& to);

}  // namespace weft::server
