#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include "base/source_folder_for_test.h"
#include "text/utf8.h"
#include "text/vectors_for_test.h"

namespace weft::text {
namespace {

struct Bytes {
  std::string_view bytes;
  std::string_view text;
};

// bytes.decode("utf-8", errors="replace") of CPython 3.11.
constexpr Bytes kReplaced[] = {
    {"plain", "plain"},
    {"\xFF", "\uFFFD"},
    {"\x80\x80", "\uFFFD\uFFFD"},
    {"\xC0\x80", "\uFFFD\uFFFD"},
    {"\xC3", "\uFFFD"},
    {"\xC3(", "\uFFFD("},
    {"\xC3\xC3\xA9", "\uFFFDé"},
    {"\xE2\x82", "\uFFFD"},
    {"\xE2\x82z", "\uFFFDz"},
    {"\xE2z\x82", "\uFFFDz\uFFFD"},
    {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
    {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
    {"\xF0\x9F\x99", "\uFFFD"},
    {"\xF0\x9F\x99\xF0\x9F\x99\x82", "\uFFFD🙂"},
    {"\xF0\x8F\xBF\xBF", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    {"\xF5\x80", "\uFFFD\uFFFD"},
    {"\xF4\x8F\xBF\xBF", "\U0010FFFF"},
    {"a\xE2\x82\xAC\xE2", "a€\uFFFD"},
};

TEST(Utf8Replacer, ReplacesAsPythonDoes) {
  for (const Bytes& c : kReplaced) {
    for (size_t cut = 0; cut <= c.bytes.size(); ++cut) {
      Utf8Replacer replacer;
      std::string text;
      replacer.Append(c.bytes.substr(0, cut), text);
      replacer.Append(c.bytes.substr(cut), text);
      replacer.Finish(text);
      EXPECT_EQ(text, c.text) << testing::PrintToString(c.bytes) << " cut at " << cut;
    }
  }
}

TEST(Utf8Replacer, SaysSoAtOnceWhenBytesCanNoLongerBecomeACharacter) {
  Utf8Replacer replacer;
  std::string text;
  replacer.Append("\xED", text);
  EXPECT_EQ(text, "");
  replacer.Append("\xA0", text);  // Would begin a surrogate.
  EXPECT_EQ(text, "\uFFFD\uFFFD");
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FindInvalidUtf8("grün 日本 🙂"), std::nullopt);
  EXPECT_EQ(FindInvalidUtf8("gr\xFCn"), 2U);
  for (const Bytes& c : kReplaced) {
    EXPECT_EQ(FindInvalidUtf8(c.bytes).has_value(), c.bytes != c.text);
  }
}

TEST(Utf8, DecodesWhatItWrites) {
  for (const char32_t c :
       {U'\0', U'\x7F', U'\x80', U'\x7FF', U'\x800', U'\xFFFF', U'\x10000', U'\x10FFFF'}) {
    std::string text;
    AppendUtf8(c, text);
    EXPECT_EQ(DecodeUtf8(text, 0).code_point, c);
    EXPECT_EQ(DecodeUtf8(text, 0).length, text.size());
    EXPECT_EQ(FindInvalidUtf8(text), std::nullopt);
  }
}

std::shared_ptr<const Tokenizer> Load(const std::string& name) {
  const std::string path = SourceFolder() + "/tests/data/tokenizer/small/" + name + ".json";
  return *Tokenizer::FromTokenizerJson(ReadFileForTest(path), "");
}

TokenId Byte(const Tokenizer& tokenizer, uint8_t byte) {
  return *tokenizer.Find(fmt::format("<0x{:02X}>", byte));
}

TEST(Detokenizer, NeverEmitsHalfACharacter) {
  const auto tokenizer = Load("llama2");
  Detokenizer detokenizer(tokenizer, true, TextPosition::kStart);
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0xF0)), "");
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0x9F)), "");
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0x99)), "");
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0x82)), "🙂");
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0xC3)), "");
  EXPECT_EQ(detokenizer.Append(*tokenizer->Find("a")), "\uFFFDa");
  EXPECT_EQ(detokenizer.Append(Byte(*tokenizer, 0xE2)), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(Detokenizer, DropsASpaceOnlyAtTheStartOfTheText) {
  const auto tokenizer = Load("llama2");
  const auto ids = *tokenizer->Encode("the weft", SpecialTokens::kAdd);
  const auto stream = [&](TextPosition position) {
    Detokenizer detokenizer(tokenizer, true, position);
    std::string text;
    for (const TokenId id : ids) text += detokenizer.Append(id);
    return text + detokenizer.Finish();
  };
  EXPECT_EQ(stream(TextPosition::kStart), "the weft");
  EXPECT_EQ(stream(TextPosition::kAfterPrompt), " the weft");
}

TEST(Detokenizer, SkipsSpecialTokensInsideACharacter) {
  const auto tokenizer = Load("llama2");
  const TokenId special = *tokenizer->Find("<s>");
  Detokenizer skipping(tokenizer, true, TextPosition::kStart);
  EXPECT_EQ(skipping.Append(Byte(*tokenizer, 0xC3)), "");
  EXPECT_EQ(skipping.Append(special), "");
  EXPECT_EQ(skipping.Append(-1), "");
  EXPECT_EQ(skipping.Append(Byte(*tokenizer, 0xA9)), "é");
  Detokenizer showing(tokenizer, false, TextPosition::kStart);
  EXPECT_EQ(showing.Append(Byte(*tokenizer, 0xC3)), "");
  EXPECT_EQ(showing.Append(special), "\uFFFD<s>");
}

}  // namespace
}  // namespace weft::text
