// Tokens of any bytes, streamed: what comes out is UTF-8 at every step, together the same as
// decoding at once, and stops where the text first ends in a stop string.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

std::shared_ptr<const Tokenizer> Make() {
  GgufVocabulary gguf;
  gguf.model = "llama";
  for (int byte = 0; byte < 256; ++byte) {
    gguf.tokens.push_back(fmt::format("<0x{:02X}>", byte));
    gguf.types.push_back(6);
  }
  gguf.scores.resize(gguf.tokens.size());
  auto tokenizer = Tokenizer::FromGguf(gguf);
  WEFT_CHECK(tokenizer.ok());
  return *tokenizer;
}

// The text up to the first stop string that is complete, the slow way.
std::string CutAtStop(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      const bool ends = std::string_view(text).substr(0, end).ends_with(stop);
      if (ends) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

// The input: a byte that says how many stop strings, each a length and bytes, then the tokens.
void Check(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view input) {
  std::vector<std::string> stops;
  const auto take = [&](size_t size) {
    const std::string_view taken = input.substr(0, size);
    input.remove_prefix(taken.size());
    return std::string(taken);
  };
  const std::string count = take(1);
  for (int i = count.empty() ? 0 : count[0] & 3; i > 0 && !input.empty(); --i) {
    const auto size = static_cast<size_t>(take(1)[0] & 7);
    stops.push_back(take(size));
  }
  std::vector<TokenId> ids;
  for (const char c : input) ids.push_back(static_cast<unsigned char>(c));
  Detokenizer detokenizer(tokenizer, false, TextPosition::kStart);
  StopStringMatcher matcher(stops, false);
  std::string streamed;
  std::string shown;
  const auto feed = [&](const std::string& piece) {
    WEFT_CHECK(!FindInvalidUtf8(piece).has_value());
    streamed += piece;
    shown += matcher.Append(piece).text;
  };
  for (const TokenId id : ids) feed(detokenizer.Append(id));
  feed(detokenizer.Finish());
  shown += matcher.Finish();
  WEFT_CHECK(streamed == tokenizer->Decode(ids, false));
  WEFT_CHECK(shown == CutAtStop(streamed, stops));
}

}  // namespace
}  // namespace weft::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizer = weft::text::Make();
  constexpr size_t kLongest = 512;
  weft::text::Check(tokenizer, {reinterpret_cast<const char*>(data), std::min(size, kLongest)});
  return 0;
}
