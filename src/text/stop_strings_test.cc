#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace weft::text {
namespace {

TEST(StopStringMatcher, HoldsBackWhatMayBegin) {
  StopStringMatcher matcher({"\n\nUser:"}, false);
  EXPECT_EQ(matcher.Append("Hello").text, "Hello");
  EXPECT_EQ(matcher.Append("!\n").text, "!");
  EXPECT_EQ(matcher.Append("\nUs").text, "");
  EXPECT_EQ(matcher.Append("ing").text, "\n\nUsing");
  EXPECT_EQ(matcher.Append("\n\nUser").text, "");
  const auto last = matcher.Append(": more");
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.stop_index, 0U);
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Append("ignored").text, "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopStringMatcher, GivesBackWhatItHeldWhenTheTextEnds) {
  StopStringMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.Append("the EN").text, "the ");
  EXPECT_EQ(matcher.Finish(), "EN");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopStringMatcher, IncludesTheStopStringWhenAsked) {
  StopStringMatcher matcher({"END"}, true);
  EXPECT_EQ(matcher.Append("a E").text, "a ");
  const auto piece = matcher.Append("ND b");
  EXPECT_EQ(piece.text, "END");
  EXPECT_TRUE(piece.stop_index.has_value());
}

TEST(StopStringMatcher, ChoosesAmongSeveral) {
  const auto stop = [](std::vector<std::string> stops, std::string_view text) {
    StopStringMatcher matcher(std::move(stops), false);
    const auto piece = matcher.Append(text);
    return piece.text + "|" + (piece.stop_index ? std::to_string(*piece.stop_index) : "-");
  };
  EXPECT_EQ(stop({"world", "lo"}, "hello world"), "hel|1");
  EXPECT_EQ(stop({"abc", "ab"}, "xabc"), "x|1");  // The prefix is complete first.
  EXPECT_EQ(stop({"bc", "abc"}, "xabc"), "x|1");  // Of those that end together the longest.
  EXPECT_EQ(stop({"abcd", "bc"}, "xabcd"), "xa|1");
  EXPECT_EQ(stop({"aab"}, "aaab"), "a|0");
  EXPECT_EQ(stop({"", "x"}, "axb"), "a|1");  // An empty one stops nothing.
  EXPECT_EQ(stop({}, "abc"), "abc|-");
  EXPECT_EQ(stop({"same", "same"}, "same"), "|0");
}

// The first prefix of the text that ends in a stop string, found the slow way.
std::string Reference(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      const bool ends = std::string_view(text).substr(0, end).ends_with(stop);
      if (ends) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest) + "|stopped";
  }
  return text;
}

TEST(StopStringMatcher, DoesNotDependOnTheBordersOfTokens) {
  std::mt19937 random(7);
  const auto word = [&](size_t longest) {
    std::string text;
    for (size_t i = random() % longest + 1; i > 0; --i) {
      text.push_back(static_cast<char>('a' + random() % 2));
    }
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(word(6));
    const std::string text = word(30);
    StopStringMatcher matcher(stops, false);
    std::string out;
    for (size_t at = 0; at < text.size() && !matcher.stopped();) {
      const size_t size = random() % 4 + 1;
      out += matcher.Append(std::string_view(text).substr(at, size)).text;
      at += size;
    }
    out += matcher.stopped() ? "|stopped" : matcher.Finish();
    ASSERT_EQ(out, Reference(stops, text)) << text << " " << testing::PrintToString(stops);
  }
}

}  // namespace
}  // namespace weft::text
