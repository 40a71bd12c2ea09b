#include "checkpoint/config_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace weft::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Fields = std::map<std::string, std::string>;

/// A config of that architecture with `changes`; an empty value takes the field away.
std::string Json(const std::string& architecture, const Fields& changes) {
  Fields fields = {{"architectures", "[\"" + architecture + "\"]"},
                   {"hidden_size", "64"},
                   {"intermediate_size", "96"},
                   {"num_hidden_layers", "4"},
                   {"num_attention_heads", "4"},
                   {"num_key_value_heads", "2"},
                   {"max_position_embeddings", "256"},
                   {"vocab_size", "272"},
                   {"rms_norm_eps", "1e-5"}};
  for (const auto& [key, value] : changes) fields[key] = value;
  std::string json;
  for (const auto& [key, value] : fields) {
    if (value.empty()) continue;
    json += (json.empty() ? "{\"" : ",\"") + key + "\":" + value;
  }
  return json + "}";
}

ModelConfig Parse(const std::string& architecture, const Fields& changes) {
  auto config = ParseConfigJson(Json(architecture, changes), "");
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config.ok() ? *config : ModelConfig();
}

std::string ErrorOf(const Fields& changes, const std::string& architecture = "LlamaForCausalLM") {
  auto config = ParseConfigJson(Json(architecture, changes), "");
  EXPECT_FALSE(config.ok());
  return config.ok() ? "" : config.error().message;
}

TEST(ConfigJson, TakesTheFamilysDefaults) {
  const ModelConfig llama = Parse("LlamaForCausalLM", {{"num_key_value_heads", ""}});
  EXPECT_EQ(llama.architecture, Architecture::kLlama);
  EXPECT_EQ(llama.kv_heads, 4);
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.rope.theta, 10000.0);
  EXPECT_FALSE(llama.tied_embeddings || llama.qkv_bias || llama.output_bias || llama.qk_norm);
  EXPECT_EQ(llama.rms_epsilon, 1e-5F);

  const ModelConfig qwen3 = Parse("Qwen3ForCausalLM", {});
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(Parse("Qwen3ForCausalLM", {{"head_dim", "null"}}).head_dim, 16);

  const ModelConfig qwen2 = Parse("Qwen2ForCausalLM", {});
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias);

  const ModelConfig smollm3 = Parse("SmolLM3ForCausalLM", {});
  EXPECT_EQ(smollm3.architecture, Architecture::kLlama);
  EXPECT_TRUE(smollm3.tied_embeddings);
  EXPECT_EQ(smollm3.rope.theta, 2e6);
  EXPECT_THAT(smollm3.layer_without_rope, ElementsAre(false, false, false, true));
}

TEST(ConfigJson, FindsTheArchitectureByModelTypeWhenNothingElseNamesIt) {
  EXPECT_EQ(Parse("", {{"architectures", ""}, {"model_type", "\"mistral\""}}).architecture,
            Architecture::kMistral);
  EXPECT_THAT(ErrorOf({{"architectures", ""}}), HasSubstr("neither 'architectures'"));
  EXPECT_THAT(ErrorOf({}, "GemmaForCausalLM"),
              HasSubstr("not supported: architecture GemmaForCausalLM; supported: Llama"));
}

TEST(ConfigJson, ReadsRopeAsBothVersionsWriteIt) {
  const std::string scaling =
      R"({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192)";
  const ModelConfig four =
      Parse("LlamaForCausalLM", {{"rope_theta", "500000.0"}, {"rope_scaling", scaling + "}"}});
  const ModelConfig five =
      Parse("LlamaForCausalLM", {{"rope_parameters", scaling + ",\"rope_theta\":500000.0}"}});
  for (const ModelConfig& config : {four, five}) {
    EXPECT_EQ(config.rope.scaling, RopeScaling::kLlama3);
    EXPECT_EQ(config.rope.theta, 500000.0);
    EXPECT_EQ(config.rope.factor, 32.0);
    EXPECT_EQ(config.rope.high_frequency_factor, 4.0);
    EXPECT_EQ(config.rope.original_context, 8192);
  }
  const ModelConfig old =
      Parse("LlamaForCausalLM", {{"rope_scaling", R"({"type": "linear", "factor": 2})"}});
  EXPECT_EQ(old.rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(old.rope.factor, 2.0);
  EXPECT_EQ(
      Parse("LlamaForCausalLM", {{"rope_parameters", R"({"rope_type": "default"})"}}).rope.scaling,
      RopeScaling::kNone);
}

TEST(ConfigJson, RefusesOtherRopesByName) {
  for (const char* type : {"yarn", "dynamic", "longrope", "mrope"}) {
    EXPECT_THAT(
        ErrorOf({{"rope_scaling", fmt::format(R"({{"rope_type": "{}", "factor": 4}})", type)}}),
        HasSubstr(fmt::format("rope type '{}' is not supported; supported: default", type)));
  }
  EXPECT_THAT(ErrorOf({{"rope_scaling", R"({"rope_type": "linear"})"}}),
              HasSubstr("'factor' is missing"));
  EXPECT_THAT(ErrorOf({{"rope_parameters", R"({"full_attention": {"rope_theta": 1e4}})"}}),
              HasSubstr("each kind of layer"));
  EXPECT_THAT(
      ErrorOf({{"rope_parameters", R"({"rope_type": "default", "partial_rotary_factor": 0.5})"}}),
      HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(ErrorOf({{"partial_rotary_factor", "0.5"}}), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(ErrorOf({{"rope_theta", "-1"}}), HasSubstr("'rope_theta' is -1"));
}

TEST(ConfigJson, ChecksEveryNumber) {
  for (const char* field :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings"}) {
    for (const char* value : {"0", "-1", "1000000000000", "1.5", "\"8\"", "[]"}) {
      EXPECT_THAT(ErrorOf({{field, value}}), HasSubstr(fmt::format("'{}' is", field)));
    }
  }
  for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers"}) {
    EXPECT_THAT(ErrorOf({{field, ""}}), HasSubstr(fmt::format("'{}' is missing", field)));
  }
  EXPECT_THAT(ErrorOf({{"num_key_value_heads", "3"}}), HasSubstr("not a multiple"));
  EXPECT_THAT(ErrorOf({{"hidden_size", "65"}}), HasSubstr("not a multiple"));
  EXPECT_THAT(ErrorOf({{"head_dim", "15"}}), HasSubstr("must be even"));
  EXPECT_THAT(ErrorOf({{"rms_norm_eps", "0"}}), HasSubstr("'rms_norm_eps' is 0"));
  EXPECT_FALSE(ParseConfigJson("", "").ok());
  EXPECT_FALSE(ParseConfigJson("{", "").ok());
}

TEST(ConfigJson, RefusesWhatItWouldComputeWrongly) {
  EXPECT_THAT(ErrorOf({{"mlp_bias", "true"}}), HasSubstr("'mlp_bias'"));
  EXPECT_THAT(ErrorOf({{"hidden_act", "\"gelu\""}}),
              HasSubstr("'hidden_act': 'gelu' is not supported; supported: silu"));
  EXPECT_THAT(ErrorOf({{"quantization_config", R"({"quant_method": "gptq"})"}}),
              HasSubstr("quantised with 'gptq' is not supported; use the original"));
}

TEST(ConfigJson, AttentionBiasMeansWhatTheFamilyMeans) {
  const ModelConfig llama = Parse("LlamaForCausalLM", {{"attention_bias", "true"}});
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias);
  const ModelConfig mistral = Parse("MistralForCausalLM", {{"attention_bias", "true"}});
  EXPECT_FALSE(mistral.qkv_bias || mistral.output_bias);
}

TEST(ConfigJson, AShortSlidingWindowCapsTheContext) {
  const ModelConfig capped = Parse("MistralForCausalLM", {{"sliding_window", "100"}});
  EXPECT_EQ(capped.context_length, 100);
  EXPECT_THAT(capped.notes, ElementsAre(HasSubstr("context capped from 256 to 100")));
  for (const char* window : {"null", "256", "4096"}) {
    const ModelConfig whole = Parse("MistralForCausalLM", {{"sliding_window", window}});
    EXPECT_EQ(whole.context_length, 256);
    EXPECT_TRUE(whole.notes.empty());
  }
  // transformers assumes 4096 where Mistral's config does not say.
  EXPECT_EQ(Parse("MistralForCausalLM", {{"max_position_embeddings", "32768"}}).context_length,
            4096);
  EXPECT_EQ(Parse("Qwen2ForCausalLM", {{"sliding_window", "100"}}).context_length, 256);
  const Fields used = {{"sliding_window", "100"}, {"use_sliding_window", "true"}};
  Fields late = used;
  late["max_window_layers"] = "4";
  EXPECT_EQ(Parse("Qwen2ForCausalLM", late).context_length, 256);
  late["max_window_layers"] = "3";
  EXPECT_EQ(Parse("Qwen3ForCausalLM", late).context_length, 100);
  Fields typed = used;
  typed["layer_types"] = R"(["full_attention", "full_attention"])";
  EXPECT_EQ(Parse("Qwen2ForCausalLM", typed).context_length, 256);
  typed["layer_types"] = R"(["full_attention", "sliding_attention"])";
  EXPECT_EQ(Parse("Qwen2ForCausalLM", typed).context_length, 100);
  EXPECT_THAT(ErrorOf({{"layer_types", R"(["linear_attention"])"}}, "Qwen3ForCausalLM"),
              HasSubstr("'linear_attention'"));
  EXPECT_EQ(Parse("LlamaForCausalLM", {{"sliding_window", "100"}}).context_length, 256);
}

TEST(ConfigJson, CollectsEndTokens) {
  const std::string json =
      Json("LlamaForCausalLM", {{"eos_token_id", "[5, 7]"}, {"bos_token_id", "1"}});
  auto config = ParseConfigJson(json, R"({"eos_token_id": [7, 9, 100000]})");
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(config->end_tokens, ElementsAre(5, 7, 9));
  EXPECT_EQ(config->begin_token, 1);
  EXPECT_THAT(config->notes, ElementsAre(HasSubstr("'eos_token_id' 100000 ignored")));
  EXPECT_THAT(Parse("LlamaForCausalLM", {{"eos_token_id", "3"}}).end_tokens, ElementsAre(3));
  EXPECT_TRUE(Parse("LlamaForCausalLM", {{"eos_token_id", "null"}}).end_tokens.empty());
  EXPECT_THAT(ErrorOf({{"eos_token_id", "\"</s>\""}}), HasSubstr("token id"));
  EXPECT_FALSE(ParseConfigJson(json, "{").ok());
}

TEST(ConfigJson, LayersWithoutRopeAreChecked) {
  EXPECT_THAT(
      Parse("SmolLM3ForCausalLM", {{"no_rope_layers", "[1, 0, 1, 1, 0]"}}).layer_without_rope,
      ElementsAre(false, true, false, false));
  EXPECT_THAT(ErrorOf({{"no_rope_layers", "[1, 0]"}}, "SmolLM3ForCausalLM"),
              HasSubstr("each of the 4 layers"));
  EXPECT_THAT(ErrorOf({{"no_rope_layers", "[1, 0, 1, 2]"}}, "SmolLM3ForCausalLM"),
              HasSubstr("must hold only 1"));
}

TEST(ConfigJson, TheStoredDtypeHasTwoNames) {
  EXPECT_EQ(Parse("LlamaForCausalLM", {{"torch_dtype", "\"float16\""}}).stored_dtype, "float16");
  EXPECT_EQ(Parse("LlamaForCausalLM", {{"dtype", "\"bfloat16\""}}).stored_dtype, "bfloat16");
  EXPECT_EQ(Parse("LlamaForCausalLM", {}).stored_dtype, "");
}

TEST(ConfigJson, TheLastOfARepeatedKeyCountsAsInPython) {
  std::string json = Json("LlamaForCausalLM", {});
  json.back() = ',';
  auto config = ParseConfigJson(json + "\"vocab_size\": 500}", "");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->vocabulary, 500);
}

}  // namespace
}  // namespace weft::checkpoint
