#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "bench/backend.h"

namespace weft::bench {

/// What one `data:` line (or one whole reply, when not streaming) says.
struct StreamEvent {
  std::string_view text;  ///< SGLang: all text so far. OpenAI: what is new. May be empty.
  std::optional<int64_t> completion_tokens;
};

/// Parses events of each protocol. Reuses its buffers; an event's text lives until the next Parse.
/// One thread.
class StreamEventParser {
 public:
  /// A reply that is not the protocol's JSON, or that carries an "error", is an error.
  Result<StreamEvent> Parse(Protocol protocol, std::string_view json);

 private:
  simdjson::dom::parser parser_;
};

}  // namespace weft::bench
