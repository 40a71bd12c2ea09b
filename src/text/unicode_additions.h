#pragma once

#include <string>
#include <string_view>

namespace weft::text {

/// The characters that Unicode 15 and 16 added to a general category ("L", "Lu") or a script
/// ("Han"), as the inside of a PCRE2 class; empty when there are none. `tokenizers` knows them
/// (its Oniguruma has Unicode 16), PCRE2 10.42 does not (Unicode 14).
std::string UnicodeAdditions(std::string_view property);

}  // namespace weft::text
