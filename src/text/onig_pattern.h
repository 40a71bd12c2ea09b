#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace weft::text {

/// The PCRE2 pattern that matches what the Oniguruma pattern (Ruby syntax, as `tokenizers` reads
/// it) matches. Differences that are translated: \s is White_Space (PCRE2's has U+180E), \w and \b
/// are by Oniguruma's word, \h is a hexadecimal digit, \v is U+000B, (?m) is dot-all, an option
/// inside a pattern reaches over the alternatives that follow, `{n,m}+` repeats instead of being
/// possessive, \p{Script} is the script, not its extensions. What has no translation (class
/// intersections, nested classes, POSIX brackets) is kUnsupported. The result is meant for
/// PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE.
Result<std::string> TranslateOniguruma(std::string_view pattern);

/// The pattern that matches `literal` and nothing else.
std::string EscapeForPcre2(std::string_view literal);

}  // namespace weft::text
