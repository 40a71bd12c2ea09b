#include "text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <limits>

#include "text/utf8.h"

namespace weft::text {
namespace {

bool IsAscii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

const icu::Normalizer2* FindNormalizer(UnicodeForm form, UErrorCode& error) {
  switch (form) {
    case UnicodeForm::kNfc:
      return icu::Normalizer2::getNFCInstance(error);
    case UnicodeForm::kNfd:
      return icu::Normalizer2::getNFDInstance(error);
    case UnicodeForm::kNfkc:
      return icu::Normalizer2::getNFKCInstance(error);
    case UnicodeForm::kNfkd:
      return icu::Normalizer2::getNFKDInstance(error);
  }
  return nullptr;
}

Status Apply(UnicodeForm form, std::string& text) {
  if (IsAscii(text)) return OkStatus();
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return MakeError(ErrorCode::kInvalidArgument, "a text of {} bytes is too long to normalize",
                     text.size());
  }
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = FindNormalizer(form, error);
  std::string out;
  out.reserve(text.size());
  if (U_SUCCESS(error)) {
    icu::StringByteSink<std::string> sink(&out);
    normalizer->normalizeUTF8(0, text, sink, nullptr, error);
  }
  if (U_FAILURE(error)) {
    return MakeError(ErrorCode::kInternal, "Unicode normalization failed: {}", u_errorName(error));
  }
  text = std::move(out);
  return OkStatus();
}

Status Apply(const PrependText& step, std::string& text) {
  if (!text.empty()) text.insert(0, step.text);
  return OkStatus();
}

Status Apply(const ReplaceText& step, std::string& text) {
  std::vector<Span> matches;
  WEFT_RETURN_IF_ERROR(step.pattern.FindAll(text, matches));
  if (matches.empty()) return OkStatus();
  std::string out;
  out.reserve(text.size() + matches.size() * step.content.size());
  size_t done = 0;
  for (const Span& match : matches) {
    out.append(text, done, match.begin - done);
    out.append(step.content);
    done = match.end;
  }
  out.append(text, done);
  text = std::move(out);
  return OkStatus();
}

Status Apply(const LowercaseText&, std::string& text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // The one character whose lower case is two.
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Character character = DecodeUtf8(text, at);
    at += character.length;
    if (character.code_point == kCapitalIWithDot) {
      out.append("i\xCC\x87");
    } else {
      AppendUtf8(static_cast<char32_t>(u_tolower(static_cast<UChar32>(character.code_point))), out);
    }
  }
  text = std::move(out);
  return OkStatus();
}

}  // namespace

Status Normalizer::Normalize(std::string& text) const {
  for (const NormalizerStep& step : steps_) {
    WEFT_RETURN_IF_ERROR(std::visit([&](const auto& s) { return Apply(s, text); }, step));
  }
  return OkStatus();
}

}  // namespace weft::text
