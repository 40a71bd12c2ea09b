#pragma once

#include <string_view>
#include <vector>

#include "base/strong_id.h"

namespace weft::text {

/// Turns one piece of text into tokens. Immutable; any thread may call.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the tokens of a piece of well-formed UTF-8.
  virtual void Encode(std::string_view piece, std::vector<TokenId>& to) const = 0;
};

}  // namespace weft::text
