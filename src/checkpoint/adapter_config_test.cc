#include "checkpoint/adapter_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Kind = ModuleSelector::Kind;

/// The fields after peft_type.
Result<AdapterConfig> Parse(const std::string& fields) {
  return ParseAdapterConfig(std::string(R"({"peft_type": "LORA")") + (fields.empty() ? "" : ", ") +
                            fields + "}");
}

std::string ErrorOf(const std::string& fields) {
  auto config = Parse(fields);
  EXPECT_FALSE(config.ok()) << fields;
  return config.ok() ? "" : config.error().message;
}

TEST(AdapterConfig, DefaultsArePefts) {
  auto config = Parse("");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->rank, 8);
  EXPECT_EQ(config->alpha, 8.0);
  EXPECT_FALSE(config->use_rslora);
  EXPECT_EQ(config->target_modules.kind, Kind::kNone);
  EXPECT_FALSE(config->layers_to_transform.has_value());
  EXPECT_TRUE(config->warnings.empty());
}

TEST(AdapterConfig, ReadsEveryField) {
  auto config = Parse(R"("r": 16, "lora_alpha": 24.5, "use_rslora": true,
      "rank_pattern": {"b": 2, "a": 3, "b": 4}, "alpha_pattern": {"q_proj": 1.5},
      "target_modules": ["q_proj"], "exclude_modules": ".*mlp.*", "layers_to_transform": [1, 3],
      "layers_pattern": "layers", "base_model_name_or_path": "org/name", "peft_version": "0.17.0",
      "init_lora_weights": true, "lora_dropout": 0.1, "bias": "none", "use_dora": false,
      "modules_to_save": null, "layer_replication": [], "megatron_config": {})");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->rank, 16);
  EXPECT_EQ(config->alpha, 24.5);
  EXPECT_TRUE(config->use_rslora);
  EXPECT_THAT(config->rank_pattern, ElementsAre(Pair("b", 4), Pair("a", 3)));
  EXPECT_THAT(config->alpha_pattern, ElementsAre(Pair("q_proj", 1.5)));
  EXPECT_THAT(config->target_modules.names, ElementsAre("q_proj"));
  EXPECT_EQ(config->exclude_modules.kind, Kind::kRegex);
  EXPECT_THAT(*config->layers_to_transform, ElementsAre(1, 3));
  EXPECT_THAT(config->layers_pattern, ElementsAre("layers"));
  EXPECT_EQ(config->base_model_name_or_path, "org/name");
  EXPECT_EQ(config->peft_version, "0.17.0");
  EXPECT_TRUE(config->warnings.empty());
}

TEST(AdapterConfig, TargetsAreAListARegexOrAllLinear) {
  EXPECT_EQ(Parse(R"("target_modules": "all-linear")")->target_modules.kind, Kind::kAllLinear);
  EXPECT_EQ(Parse(R"("target_modules": "All-Linear")")->target_modules.kind, Kind::kAllLinear);
  EXPECT_EQ(Parse(R"("target_modules": ".*q")")->target_modules.regex, ".*q");
  EXPECT_EQ(Parse(R"("exclude_modules": "")")->exclude_modules.kind, Kind::kNone);
  EXPECT_THAT(ErrorOf(R"("target_modules": 5)"), HasSubstr("is an integer, but must be a list"));
  EXPECT_THAT(ErrorOf(R"("target_modules": ["q_proj", 5])"), HasSubstr("only strings"));
}

TEST(AdapterConfig, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("use_dora": true)", "'use_dora': DoRA is not supported"},
      {R"("modules_to_save": ["lm_head"])", "'modules_to_save'"},
      {R"("alora_invocation_tokens": [1])", "(aLoRA)"},
      {R"("trainable_token_indices": {"embed_tokens": [1]})", "trained token embeddings"},
      {R"("lora_bias": true)", "'lora_bias'"},
      {R"("layer_replication": [[0, 2]])", "'layer_replication'"},
      {R"("megatron_config": {"a": 1})", "'megatron_config'"},
      {R"("target_parameters": ["a"])", "'target_parameters'"},
      {R"("use_qalora": true)", "QALoRA"},
      {R"("bias": "all")", "trained bias ('all')"},
      {R"("init_lora_weights": "pissa_niter_16")", "path_initial_model_for_weight_conversion"},
      {R"("init_lora_weights": "olora")", "'olora' changed"},
      {R"("init_lora_weights": "corda")", "'corda' changed"},
  };
  for (const auto& [fields, text] : cases) {
    auto config = Parse(fields);
    ASSERT_FALSE(config.ok()) << fields;
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(config.error().message, HasSubstr(text));
  }
  EXPECT_THAT(ParseAdapterConfig("{}").error().message, HasSubstr("'peft_type' is missing"));
  EXPECT_THAT(ParseAdapterConfig(R"({"peft_type": "ADALORA"})").error().message,
              HasSubstr("ADALORA is not supported; supported: LORA"));
}

TEST(AdapterConfig, InitialisationsThatLeaveTheBaseAloneAreFine) {
  for (const char* name : {"true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\"", "null"}) {
    auto config = Parse(fmt::format(R"("init_lora_weights": {})", name));
    ASSERT_TRUE(config.ok()) << name;
    EXPECT_TRUE(config->warnings.empty());
  }
  auto loftq = Parse(R"("init_lora_weights": "loftq")");
  ASSERT_TRUE(loftq.ok());
  EXPECT_THAT(loftq->warnings, ElementsAre(HasSubstr("LoftQ")));
}

TEST(AdapterConfig, ChecksNumbers) {
  for (const char* rank : {"0", "-4", "70000", "1.5", "\"8\""}) {
    EXPECT_THAT(ErrorOf(fmt::format(R"("r": {})", rank)), HasSubstr("'r' is"));
  }
  EXPECT_THAT(ErrorOf(R"("lora_alpha": 1e300)"), HasSubstr("'lora_alpha' is 1e+300"));
  EXPECT_THAT(ErrorOf(R"("rank_pattern": {"q_proj": 0})"),
              HasSubstr("'rank_pattern: q_proj' is 0"));
  EXPECT_THAT(ErrorOf(R"("rank_pattern": {"q_proj": 1.5})"), HasSubstr("must be an integer"));
  EXPECT_THAT(ErrorOf(R"("alpha_pattern": {"q_proj": "x"})"), HasSubstr("must be a number"));
  EXPECT_THAT(ErrorOf(R"("rank_pattern": [])"), HasSubstr("must be an object"));
  EXPECT_THAT(ErrorOf(R"("layers_to_transform": [-1])"), HasSubstr("a layer's number or a list"));
  EXPECT_THAT(ErrorOf(R"("layers_pattern": 5)"), HasSubstr("a string or a list"));
}

TEST(AdapterConfig, RefusesCombinationsThatPeftRefuses) {
  EXPECT_THAT(ErrorOf(R"("target_modules": ".*", "layers_to_transform": 1)"),
              HasSubstr("need a list in 'target_modules'"));
  EXPECT_THAT(ErrorOf(R"("target_modules": ["q_proj"], "layers_pattern": "layers")"),
              HasSubstr("needs 'layers_to_transform'"));
}

TEST(AdapterConfig, SaysWhatItPassesOver) {
  auto config = Parse(R"("fan_in_fan_out": true, "use_new_thing": true, "use_other": false)");
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->fan_in_fan_out);
  EXPECT_THAT(config->warnings, ElementsAre(HasSubstr("'fan_in_fan_out' has no effect"),
                                            HasSubstr("unknown field 'use_new_thing'")));
}

}  // namespace
}  // namespace weft::checkpoint
