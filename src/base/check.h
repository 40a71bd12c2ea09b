#pragma once

namespace weft {

/// Prints the place and the broken condition, then aborts. Never returns.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace weft

/// For what cannot be false unless the program is wrong. What can go wrong outside the program
/// (files, requests, flags, devices) is a Result<T> instead.
#define WEFT_CHECK(condition)                        \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? (void)0                                     \
       : ::weft::CheckFailed(__FILE__, __LINE__, #condition))
