#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace weft::text {
namespace {

using testing::HasSubstr;

std::shared_ptr<const ChatTemplate> Compile(std::string jinja) {
  ChatTemplateSource source;
  source.jinja = std::move(jinja);
  source.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  auto compiled = ChatTemplate::Compile(source);
  EXPECT_TRUE(compiled.ok()) << compiled.error().message;
  return compiled.ok() ? *compiled : nullptr;
}

std::string Render(const std::string& jinja, std::string_view messages,
                   const RenderOptions& options = {}) {
  const auto rendered = Compile(jinja)->Render(messages, options);
  EXPECT_TRUE(rendered.ok()) << rendered.error().message;
  return rendered.ok() ? *rendered : "";
}

constexpr std::string_view kQuestion = R"([{"role": "user", "content": "Hi"}])";

TEST(ChatTemplate, RendersMessagesAndSpecialTokens) {
  EXPECT_EQ(
      Render("{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] }}"
             "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
             R"([{"role": "system", "content": "A"}, {"role": "user", "content": "Ü<&>\n"}])"),
      "<s>[system] A</s>[user] Ü<&>\n</s>[assistant]");
}

TEST(ChatTemplate, TrimsBlocksAndKnowsLoopControls) {
  EXPECT_EQ(Render("{% for i in range(5) %}\n   {% if i == 1 %}{% continue %}{% endif %}\n"
                   "   {% if i == 3 %}\n{% break %}\n   {% endif %}\n{{ i }}\n{% endfor %}\nend",
                   kQuestion),
            "0\n2\nend");
}

TEST(ChatTemplate, WritesJsonAsTransformersDoes) {
  RenderOptions options;
  options.tools_json = R"([{"name": "größe", "text": "<b> & 'c'"}])";
  EXPECT_EQ(Render("{{ tools | tojson }}|{{ tools[0] | tojson(indent=2) }}", kQuestion, options),
            "[{\"name\": \"größe\", \"text\": \"<b> & 'c'\"}]|{\n  \"name\": \"größe\",\n"
            "  \"text\": \"<b> & 'c'\"\n}");
  EXPECT_EQ(Render("{{ tools is none }}", kQuestion), "True");
}

TEST(ChatTemplate, TakesFurtherVariablesAndTheGenerationPromptFlag) {
  RenderOptions options;
  options.extra_variables_json = R"({"enable_thinking": false, "bos_token": "B"})";
  options.add_generation_prompt = false;
  EXPECT_EQ(Render("{{ enable_thinking }} {{ bos_token }} {{ add_generation_prompt }}", kQuestion,
                   options),
            "False B False");
}

TEST(ChatTemplate, LeavesOutNullMembersAndAliasesReasoning) {
  EXPECT_EQ(Render("{% for m in messages %}{{ m.keys() | list }}{{ m.reasoning_content }}"
                   "{% endfor %}",
                   R"([{"role": "user", "content": null, "reasoning": "because"}])"),
            "['thinking', 'role', 'reasoning', 'reasoning_content']because");
}

TEST(ChatTemplate, RendersWhatIsMarkedAsGenerated) {
  EXPECT_EQ(Render("{% generation %}{{ messages[0].content }}{% endgeneration %}!", kQuestion),
            "Hi!");
}

TEST(ChatTemplate, TakesTheToolUseTemplateWhenThereAreTools) {
  ChatTemplateSource source;
  source.jinja = "plain";
  source.tool_use_jinja = "tools";
  const auto compiled = ChatTemplate::Compile(source);
  ASSERT_TRUE(compiled.ok()) << compiled.error().message;
  RenderOptions options;
  EXPECT_EQ(*(*compiled)->Render(kQuestion, options), "plain");
  options.tools_json = "[{}]";
  EXPECT_EQ(*(*compiled)->Render(kQuestion, options), "tools");
}

TEST(ChatTemplate, PassesOnTheTemplatesOwnError) {
  const auto rendered =
      Compile("{{ raise_exception('Only user and assistant roles!') }}")->Render(kQuestion, {});
  ASSERT_FALSE(rendered.ok());
  EXPECT_EQ(rendered.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(rendered.error().message, "chat template: Only user and assistant roles!");
}

TEST(ChatTemplate, RefusesBadInput) {
  const auto compiled = Compile("{{ messages[0].content }}");
  for (const auto& [messages, message] :
       std::vector<std::pair<std::string, std::string>>{{"", "Expecting value"},
                                                        {"[", "Expecting value"},
                                                        {"[]", "at least one message"},
                                                        {"{}", "should be a list"},
                                                        {"[1]", "should be an object"},
                                                        {R"([{"content": "\ud800"}])", "surrogate"},
                                                        {"[\"\xff\"]", "decode"},
                                                        {std::string(200000, '['), "recursion"}}) {
    const auto rendered = compiled->Render(messages, {});
    ASSERT_FALSE(rendered.ok()) << messages.substr(0, 20);
    EXPECT_EQ(rendered.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(rendered.error().message, HasSubstr(message));
  }
  RenderOptions options;
  options.extra_variables_json = "3";
  EXPECT_FALSE(compiled->Render(kQuestion, options).ok());
}

TEST(ChatTemplate, RefusesATemplateThatDoesNotCompile) {
  ChatTemplateSource source;
  source.jinja = "\n{% if %}";
  const auto compiled = ChatTemplate::Compile(source);
  ASSERT_FALSE(compiled.ok());
  EXPECT_EQ(compiled.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(compiled.error().message, HasSubstr("line 2"));
}

TEST(ChatTemplate, KeepsTemplatesInTheirSandbox) {
  for (const char* jinja : {"{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}",
                            "{{ namespace(__init__=1) }}", "{{ cycler.__init__.__globals__ }}"}) {
    const auto compiled = Compile(jinja);
    const auto rendered = compiled->Render(kQuestion, {});
    EXPECT_TRUE(!rendered.ok() || rendered->empty()) << jinja << ": " << *rendered;
  }
}

TEST(ChatTemplate, RendersOnManyThreads) {
  const auto compiled = Compile("{% for i in range(50) %}{{ messages[0].content }}{% endfor %}");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&compiled, t] {
      const std::string word(1, static_cast<char>('a' + t));
      for (int i = 0; i < 50; ++i) {
        const auto rendered = compiled->Render(R"([{"content": ")" + word + "\"}]", {});
        ASSERT_TRUE(rendered.ok());
        EXPECT_EQ(*rendered, std::string(50, word[0]));
      }
      (void)Compile("x");
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(FindChatTemplate, PrefersTheFileThenTheConfigThenTheGguf) {
  ChatTemplateFiles files;
  EXPECT_FALSE(FindChatTemplate(files)->has_value());
  files.gguf_chat_template = "gguf";
  files.gguf_eos_token = "</g>";
  EXPECT_EQ((**FindChatTemplate(files)).jinja, "gguf");
  files.tokenizer_config_json =
      R"({"chat_template": "config", "eos_token": {"content": "</c>"}, "bos_token": null})";
  const auto from_config = **FindChatTemplate(files);
  EXPECT_EQ(from_config.jinja, "config");
  EXPECT_THAT(from_config.special_tokens, testing::ElementsAre(testing::Pair("eos_token", "</c>")));
  files.chat_template_jinja = "file";
  EXPECT_EQ((**FindChatTemplate(files)).jinja, "file");
}

TEST(FindChatTemplate, ChoosesANamedTemplate) {
  ChatTemplateFiles files;
  files.tokenizer_config_json = R"({"chat_template": [
      {"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})";
  const auto both = **FindChatTemplate(files);
  EXPECT_EQ(both.jinja, "d");
  EXPECT_EQ(both.tool_use_jinja, "t");
  EXPECT_EQ((**FindChatTemplate(files, "tool_use")).jinja, "t");
  const auto missing = FindChatTemplate(files, "rag");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("\"default\", \"tool_use\""));
}

TEST(FindChatTemplate, RefusesAMalformedConfig) {
  ChatTemplateFiles files;
  for (const char* json : {"{", "{\"chat_template\": 3}"}) {
    files.tokenizer_config_json = json;
    EXPECT_FALSE(FindChatTemplate(files).ok()) << json;
  }
}

}  // namespace
}  // namespace weft::text
