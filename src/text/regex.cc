#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "text/onig_pattern.h"
#include "text/utf8.h"

namespace weft::text {
namespace {

constexpr size_t kFirstStack = 64 * 1024;
constexpr size_t kLargestStack = 256 * 1024 * 1024;
// Steps of one match, about a second: far beyond what any tokenizer's expression needs for a
// mebibyte, and an end to one that would backtrack for ever.
constexpr uint32_t kMatchLimit = 50'000'000;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

// What a thread needs to match: made once a thread, freed when it ends.
struct Matcher {
  std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> data{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr)};

  Matcher() {
    WEFT_CHECK(data != nullptr && context != nullptr && stack != nullptr);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), UINT32_MAX);
    pcre2_set_heap_limit(context.get(), UINT32_MAX);
  }
};

Matcher& ThreadMatcher() {
  thread_local Matcher matcher;
  return matcher;
}

std::string Pcre2Message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
  std::string shown;
};

Result<Regex> Regex::Compile(std::string_view oniguruma_pattern) {
  WEFT_ASSIGN_OR_RETURN(const std::string pattern, TranslateOniguruma(oniguruma_pattern));
  return CompilePcre2(pattern, oniguruma_pattern);
}

Result<Regex> Regex::Literal(std::string_view literal) {
  if (FindInvalidUtf8(literal).has_value()) {
    return MakeError(ErrorCode::kInvalidArgument, "a pattern is not UTF-8");
  }
  return CompilePcre2(EscapeForPcre2(literal), literal);
}

Result<Regex> Regex::CompilePcre2(std::string_view pattern, std::string_view shown) {
  std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  WEFT_CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->shown = std::string(shown);
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                 &error, &offset, context.get()));
  if (code->code == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "regular expression \"{}\": {}", shown,
                     Pcre2Message(error));
  }
  // Without JIT (another processor) the interpreter matches, more slowly.
  (void)pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

Status Regex::FindAll(std::string_view text, std::vector<Span>& matches) const {
  matches.clear();
  Matcher& matcher = ThreadMatcher();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(matcher.data.get());
  size_t at = 0;
  while (at <= text.size()) {
    int result = pcre2_match(code_->code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                             matcher.data.get(), matcher.context.get());
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      result =
          pcre2_match(code_->code.get(), subject, text.size(), at,
                      PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher.data.get(), matcher.context.get());
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return MakeError(ErrorCode::kResourceExhausted,
                       "splitting a text of {} bytes with the regular expression \"{}\" failed: {}",
                       text.size(), code_->shown, Pcre2Message(result));
    }
    const Span match{found[0], found[1]};
    const bool empty = match.size() == 0;
    const bool repeats = empty && !matches.empty() && matches.back().end == match.end;
    if (!repeats) matches.push_back(match);
    at = match.end;
    if (empty) at += at < text.size() ? Utf8Length(text[at]) : 1;
  }
  return OkStatus();
}

}  // namespace weft::text
