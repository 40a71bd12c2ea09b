#include "text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include "base/source_folder_for_test.h"
#include "text/json_value.h"
#include "text/onig_pattern.h"
#include "text/utf8.h"
#include "text/vectors_for_test.h"

namespace weft::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> FindAll(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.error().message;
  std::vector<Span> matches;
  if (!regex.ok() || !regex->FindAll(text, matches).ok()) return {"failed"};
  std::vector<std::string> found;
  for (const Span& match : matches) found.emplace_back(text.substr(match.begin, match.size()));
  return found;
}

TEST(Regex, FoldsCaseBeyondAscii) {
  EXPECT_THAT(FindAll("(?i:'s|'k)", "'s'S'\u017F'\u212A'k't"),
              ElementsAre("'s", "'S", "'\u017F", "'\u212A", "'k"));
}

TEST(Regex, MeansWhatOnigurumaMeans) {
  EXPECT_THAT(FindAll(R"(\s)", "\u180E"), IsEmpty());
  EXPECT_THAT(FindAll(R"([\s])", "\u00A0\u0085"), ElementsAre("\u00A0", "\u0085"));
  EXPECT_THAT(FindAll(R"(\h+)", "xyz beef 09"), ElementsAre("beef", "09"));
  EXPECT_THAT(FindAll(R"(\v)", "\n\x0B"), ElementsAre("\x0B"));
  EXPECT_THAT(FindAll("(?m:a.b)", "a\nb"), ElementsAre("a\nb"));
  EXPECT_THAT(FindAll("a.b", "a\nb"), IsEmpty());
  EXPECT_THAT(FindAll("^a$", "a\nba\na"), ElementsAre("a", "a"));
  EXPECT_THAT(FindAll("a(?i)b|c", "aB aC ac c"), ElementsAre("aB", "aC", "ac"));
  EXPECT_THAT(FindAll(R"(\p{N}{1,3}+)", "12345 6"), ElementsAre("12345", "6"));
  EXPECT_THAT(FindAll("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(FindAll("a{b", "a{b"), ElementsAre("a{b"));
  EXPECT_THAT(FindAll(R"(\p{^L}|\P{^Lu})", "aB1"), ElementsAre("B", "1"));
  EXPECT_THAT(FindAll(R"(\p{Han}+)", "漢字、かな"), ElementsAre("漢字"));
  EXPECT_THAT(FindAll(R"(\u0041|\x42|\x{1F642})", "ABC🙂"), ElementsAre("A", "B", "🙂"));
  EXPECT_THAT(FindAll(R"(\d{1,3}(?=(?:\d{3})*\b))", "1234567 x"), ElementsAre("1", "234", "567"));
  EXPECT_THAT(FindAll(R"([]a]+)", "]a]"), ElementsAre("]a]"));
  EXPECT_THAT(FindAll(R"((a)\1)", "aa"), ElementsAre("aa"));
}

TEST(Regex, FindsEmptyMatchesButNotRightAfterAMatch) {
  EXPECT_THAT(FindAll("a*", "baac"), ElementsAre("", "aa", ""));
  EXPECT_THAT(FindAll("(?=é)", "éé"), ElementsAre("", ""));
}

TEST(Regex, RefusesWhatHasNoTranslation) {
  for (const char* pattern :
       {"[a[b]]", "[a&&b]", "[[:alpha:]]", "(?<name>a)", "(?s:a)", "a\\", "[a", "(a", "a)", "*a",
        R"(\q)", R"([\W])", R"(\p{L)", R"(\pL)", R"(\p{Klingon})", R"(\x{})", R"(\u12)", "\xFF"}) {
    EXPECT_FALSE(Regex::Compile(pattern).ok()) << pattern;
  }
  EXPECT_THAT(Regex::Compile("x[a&&b]").error().message, HasSubstr("intersection of classes"));
}

TEST(Regex, TakesALiteralAsItIs) {
  const auto regex = Regex::Literal("a.(é");
  ASSERT_TRUE(regex.ok());
  std::vector<Span> matches;
  ASSERT_TRUE(regex->FindAll("abé a.(é", matches).ok());
  EXPECT_THAT(matches, ElementsAre(Span{5, 10}));
}

TEST(Regex, BacktracksThroughAMebibyte) {
  const std::string text(1 << 20, 'a');
  EXPECT_THAT(FindAll("(?:a|b)*c|(?:a|b)+", text), ElementsAre(text));
}

// The number and a digest of the characters that each class matches, made with `tokenizers` by
// tests/reference/make_regex_classes.py.
TEST(Regex, ClassesHoldTheCharactersThatOnigurumaPutsThere) {
  const std::string path = SourceFolder() + "/tests/data/tokenizer/regex_classes.json";
  simdjson::dom::parser parser;
  simdjson::dom::object classes;
  ASSERT_EQ(parser.parse(simdjson::padded_string(ReadFileForTest(path))).get(classes),
            simdjson::SUCCESS);
  for (const auto& [pattern, expected] : classes) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.error().message;
    std::string text;
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c < 0xD800 || c > 0xDFFF) AppendUtf8(c, text);
    }
    std::vector<Span> matches;
    ASSERT_TRUE(regex->FindAll(text, matches).ok());
    int64_t count = 0;
    uint64_t digest = 0xCBF29CE484222325;  // FNV-1a over the code points.
    for (const Span& match : matches) {
      for (size_t at = match.begin; at < match.end; ++count) {
        const Utf8Character character = DecodeUtf8(text, at);
        digest = (digest ^ character.code_point) * 0x100000001B3;
        at += character.length;
      }
    }
    EXPECT_EQ(count, JsonInteger(expected, "count", -1)) << pattern;
    EXPECT_EQ(fmt::format("{:016x}", digest), JsonString(expected, "digest")) << pattern;
  }
}

}  // namespace
}  // namespace weft::text
