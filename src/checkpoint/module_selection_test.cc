#include "checkpoint/module_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace weft::checkpoint {
namespace {

using ::testing::HasSubstr;
using Kind = ModuleSelector::Kind;

const std::string kQ0 = "model.layers.0.self_attn.q_proj";
const std::string kDown11 = "model.layers.11.mlp.down_proj";

bool KeyMatches(const std::string& key, const std::string& module) {
  auto keys = PatternKeys::Compile({key}, "rank_pattern");
  EXPECT_TRUE(keys.ok()) << keys.error().message;
  auto match = keys->FirstMatch(module);
  EXPECT_TRUE(match.ok());
  return match->has_value();
}

TEST(PatternKeys, MatchTheEndFromADotOn) {
  // Each as Python answers re.match(rf"(.*\.)?({key})$", module).
  EXPECT_TRUE(KeyMatches("q_proj", kQ0));
  EXPECT_FALSE(KeyMatches("proj", kQ0));
  EXPECT_TRUE(KeyMatches("self_attn.q_proj", kQ0));
  EXPECT_TRUE(KeyMatches("self_attn_q_proj", "model.layers.0.self_attn_q_proj"));
  EXPECT_TRUE(KeyMatches("self.attn.q_proj", kQ0));  // A dot stands for any character.
  EXPECT_TRUE(KeyMatches(kQ0, kQ0));
  EXPECT_FALSE(KeyMatches("model.layers.1.self_attn.q_proj", kQ0));
  EXPECT_FALSE(KeyMatches("1.mlp.down_proj", kDown11));
  EXPECT_TRUE(KeyMatches("^model.layers.0.self_attn.q_proj", kQ0));
  EXPECT_FALSE(KeyMatches("^layers.0.self_attn.q_proj", kQ0));
  EXPECT_TRUE(KeyMatches(R"(layers\.\d+\.self_attn\.(q|k)_proj)", kQ0));
  EXPECT_FALSE(KeyMatches(R"(layers\.\d+\.self_attn\.(q|k))", kQ0));
  EXPECT_TRUE(KeyMatches("o_proj|q_proj", kQ0));
  EXPECT_TRUE(KeyMatches(".*", kQ0));
  EXPECT_FALSE(KeyMatches("x.*", kQ0));
  EXPECT_FALSE(KeyMatches("longer.than.model.layers.0.self_attn.q_proj", kQ0));
  EXPECT_FALSE(KeyMatches("", kQ0));
}

TEST(PatternKeys, TheFirstThatMatchesWins) {
  auto keys = PatternKeys::Compile({"k_proj", ".*_proj", "q_proj"}, "rank_pattern");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ(**keys->FirstMatch(kQ0), 1u);
}

TEST(PatternKeys, RegularExpressionsAreCounted) {
  EXPECT_TRUE(PatternKeys::Compile(std::vector<std::string>(5000, "q_proj"), "rank_pattern").ok());
  auto many = PatternKeys::Compile(std::vector<std::string>(65, ".*"), "rank_pattern");
  ASSERT_FALSE(many.ok());
  EXPECT_THAT(many.error().message, HasSubstr("65 of them regular expressions"));
}

Result<bool> Adapts(const AdapterConfig& config, const std::string& module) {
  WEFT_ASSIGN_OR_RETURN(const TargetSelection selection, TargetSelection::Compile(config));
  return selection.Adapts(module);
}

TEST(TargetSelection, AListMatchesNamesAndTheirEnds) {
  AdapterConfig config;
  config.target_modules = {Kind::kList, {"q_proj", "layers.11.mlp.down_proj", "attn.k_proj"}, ""};
  EXPECT_TRUE(*Adapts(config, kQ0));
  EXPECT_TRUE(*Adapts(config, kDown11));
  EXPECT_FALSE(*Adapts(config, "model.layers.1.mlp.down_proj"));
  EXPECT_FALSE(*Adapts(config, "model.layers.0.self_attn.k_proj"));
  config.exclude_modules = {Kind::kList, {"layers.0.self_attn.q_proj"}, ""};
  EXPECT_FALSE(*Adapts(config, kQ0));
  EXPECT_TRUE(*Adapts(config, "model.layers.1.self_attn.q_proj"));
}

TEST(TargetSelection, AStringIsMatchedWhole) {
  AdapterConfig config;
  config.target_modules = {Kind::kRegex, {}, R"(.*\.layers\.\d+\.self_attn\.(q|v)_proj)"};
  EXPECT_TRUE(*Adapts(config, kQ0));
  EXPECT_FALSE(*Adapts(config, kDown11));
  config.target_modules.regex = "q_proj";
  EXPECT_FALSE(*Adapts(config, kQ0));
  config.target_modules.regex = ".*attn";
  EXPECT_FALSE(*Adapts(config, kQ0));
  config.target_modules.regex = ".*";
  config.exclude_modules = {Kind::kRegex, {}, ".*mlp.*"};
  EXPECT_TRUE(*Adapts(config, kQ0));
  EXPECT_FALSE(*Adapts(config, kDown11));
}

TEST(TargetSelection, LayersRestrictAList) {
  AdapterConfig config;
  config.target_modules = {Kind::kList, {"q_proj", "down_proj"}, ""};
  config.layers_to_transform = {11};
  EXPECT_FALSE(*Adapts(config, kQ0));
  EXPECT_TRUE(*Adapts(config, kDown11));
  config.layers_pattern = {"blocks", "layers"};
  EXPECT_TRUE(*Adapts(config, kDown11));
  config.layers_pattern = {"blocks"};
  EXPECT_FALSE(*Adapts(config, kDown11));
  config.layers_pattern = {};
  config.layers_to_transform->clear();
  EXPECT_TRUE(*Adapts(config, kQ0));
  // A module named in full is adapted whatever its layer.
  config.layers_to_transform = {11};
  config.target_modules.names = {kQ0};
  EXPECT_TRUE(*Adapts(config, kQ0));
}

TEST(BoundedRegex, AHostilePatternIsAnErrorAndNoHang) {
  const auto start = std::chrono::steady_clock::now();
  const std::string module(60, 'a');
  // A class at the end keeps PCRE2 from seeing at once that nothing matches.
  for (const char* pattern : {"(a+)+[bc]", "(a|aa)+[bc]", "((a*)*)*[bc]", "(a|a?)+[bc]"}) {
    AdapterConfig config;
    config.target_modules = {Kind::kRegex, {}, pattern};
    auto adapts = Adapts(config, module);
    ASSERT_FALSE(adapts.ok()) << pattern;
    EXPECT_THAT(adapts.error().message,
                HasSubstr(fmt::format("'target_modules' has the regular expression '{}', which "
                                      "cannot be matched within 20000 steps",
                                      pattern)));
    EXPECT_THAT(adapts.error().message, HasSubstr("name the modules in a list instead"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(BoundedRegex, NamesWhatIsWrongWithAPattern) {
  const auto error_of = [](const std::string& pattern) {
    auto regex = BoundedRegex::Compile(pattern, "target_modules");
    return regex.ok() ? "" : regex.error().message;
  };
  EXPECT_THAT(error_of("(q_proj"), HasSubstr("'(q_proj', which is wrong at character 7"));
  EXPECT_THAT(error_of(std::string(5000, 'a')), HasSubstr("5000 characters"));
  EXPECT_THAT(error_of(std::string(100, '(') + std::string(100, ')')), HasSubstr("nested"));
  EXPECT_THAT(error_of("(?:(?:a{1000}){1000}){1000}"), HasSubstr("too large"));
  EXPECT_THAT(error_of("\\C"), HasSubstr("wrong at character"));
}

}  // namespace
}  // namespace weft::checkpoint
