#define PCRE2_CODE_UNIT_WIDTH 8
#include "checkpoint/bounded_regex.h"

#include <pcre2.h>

#include <charconv>

namespace weft::checkpoint {
namespace {

constexpr size_t kMaxPattern = 4096;
constexpr uint32_t kMaxNesting = 64;
// Honest patterns on a module's name take some hundred steps.
constexpr uint32_t kMaxSteps = 20'000;
constexpr uint32_t kMaxHeapKiB = 1024;

std::string PcreMessage(int code) {
  PCRE2_UCHAR buffer[160] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct BoundedRegex::Compiled {
  std::string pattern;
  std::string field;
  pcre2_code* code = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;

  ~Compiled() {
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
  }
};

BoundedRegex::BoundedRegex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
BoundedRegex::BoundedRegex(BoundedRegex&&) noexcept = default;
BoundedRegex& BoundedRegex::operator=(BoundedRegex&&) noexcept = default;
BoundedRegex::~BoundedRegex() = default;

Result<BoundedRegex> BoundedRegex::Compile(std::string_view pattern, std::string_view field) {
  if (pattern.size() > kMaxPattern) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'{}' is a regular expression of {} characters, but at most {} are allowed",
                     field, pattern.size(), kMaxPattern);
  }
  auto compiled = std::make_unique<Compiled>();
  compiled->pattern = pattern;
  compiled->field = field;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> limits(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_parens_nest_limit(limits.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code = pcre2_compile(Units(pattern), pattern.size(),
                                 PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP,
                                 &error, &offset, limits.get());
  if (compiled->code == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'{}' has the regular expression '{}', which is wrong at character {}: {}",
                     field, pattern, offset, PcreMessage(error));
  }
  compiled->data = pcre2_match_data_create_from_pattern(compiled->code, nullptr);
  compiled->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(compiled->context, kMaxSteps);
  pcre2_set_depth_limit(compiled->context, kMaxSteps);
  pcre2_set_heap_limit(compiled->context, kMaxHeapKiB);
  return BoundedRegex(std::move(compiled));
}

Result<bool> BoundedRegex::Run(std::string_view text, bool whole) const {
  const uint32_t options = PCRE2_ANCHORED | (whole ? PCRE2_ENDANCHORED : 0u);
  const int result = pcre2_match(compiled_->code, Units(text), text.size(), 0, options,
                                 compiled_->data, compiled_->context);
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result >= 0) return true;
  return MakeError(ErrorCode::kInvalidArgument,
                   "'{}' has the regular expression '{}', which cannot be matched within {} steps "
                   "({}); name the modules in a list instead",
                   compiled_->field, compiled_->pattern, kMaxSteps, PcreMessage(result));
}

Result<bool> BoundedRegex::FullMatch(std::string_view text) const { return Run(text, true); }
Result<bool> BoundedRegex::Match(std::string_view text) const { return Run(text, false); }

Result<std::optional<int64_t>> BoundedRegex::MatchIndex(std::string_view text) const {
  WEFT_ASSIGN_OR_RETURN(const bool matched, Run(text, false));
  if (!matched) return std::optional<int64_t>();
  const int group =
      pcre2_substring_number_from_name(compiled_->code, reinterpret_cast<PCRE2_SPTR>("idx"));
  if (group < 0) return std::optional<int64_t>();
  const PCRE2_SIZE* spans = pcre2_get_ovector_pointer(compiled_->data);
  const PCRE2_SIZE begin = spans[2 * group];
  const PCRE2_SIZE end = spans[2 * group + 1];
  int64_t index = 0;
  if (begin == PCRE2_UNSET ||
      std::from_chars(text.data() + begin, text.data() + end, index).ec != std::errc()) {
    return std::optional<int64_t>();
  }
  return std::optional<int64_t>(index);
}

}  // namespace weft::checkpoint
