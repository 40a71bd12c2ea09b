// Real chat templates, fetched by scripts/fetch-test-vocabularies, against what transformers
// renders (tests/reference/make_chat_template_vectors.py).

#include <gtest/gtest.h>
#include <simdjson.h>

#include "base/source_folder_for_test.h"
#include "text/chat_template.h"
#include "text/gguf_metadata_for_test.h"
#include "text/json_value.h"
#include "text/vectors_for_test.h"

namespace weft::text {
namespace {

using simdjson::dom::element;

// The template of that name, or nothing when it was not fetched.
std::optional<std::string> ReadTemplate(const std::string& name) {
  const bool from_gguf = name == "SmolLM2";
  const std::string path = VocabulariesForTest() + (from_gguf ? "/../models/smollm2.gguf"
                                                              : "/templates/" + name + ".jinja");
  if (!std::filesystem::exists(path)) return std::nullopt;
  return from_gguf ? ReadGgufChatTemplateForTest(path) : ReadFileForTest(path);
}

Result<std::string> Render(const ChatTemplate& chat_template, element conversation) {
  RenderOptions options;
  options.add_generation_prompt = JsonBool(conversation, "add_generation_prompt", true);
  bool found = false;
  const element tools = JsonMember(conversation, "tools", found);
  if (found) options.tools_json = simdjson::minify(tools);
  options.extra_variables_json = simdjson::minify(JsonMember(conversation, "extra", found));
  return chat_template.Render(simdjson::minify(JsonMember(conversation, "messages", found)),
                              options);
}

std::string Digest(std::string_view text) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return fmt::format("{:016x}", value);
}

// Renders every conversation of the file with every template, and compares `show` of the text.
template <typename Show>
void Compare(const std::string& file, Show show) {
  WEFT_SKIP_WITHOUT(VocabulariesForTest() + "/templates");
  simdjson::dom::parser parser;
  element root;
  const std::string path = SourceFolder() + "/tests/data/chat_template/" + file;
  ASSERT_EQ(parser.parse(simdjson::padded_string(ReadFileForTest(path))).get(root),
            simdjson::SUCCESS);
  bool found = false;
  const element conversations = JsonMember(root, "conversations", found);
  simdjson::dom::object templates;
  ASSERT_EQ(root["templates"].get(templates), simdjson::SUCCESS);
  int compared = 0;
  for (const auto& [name, expectations] : templates) {
    SCOPED_TRACE(name);
    ChatTemplateSource source;
    source.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    const auto jinja = ReadTemplate(std::string(name));
    ASSERT_TRUE(jinja.has_value());
    source.jinja = *jinja;
    const auto compiled = ChatTemplate::Compile(source);
    ASSERT_TRUE(compiled.ok()) << compiled.error().message;
    simdjson::dom::object titles;
    ASSERT_EQ(expectations.get(titles), simdjson::SUCCESS);
    for (const auto& [title, expected] : titles) {
      SCOPED_TRACE(title);
      const auto text = Render(**compiled, JsonMember(conversations, title, found));
      std::string_view wanted;
      const bool renders = expected.get(wanted) == simdjson::SUCCESS;
      EXPECT_EQ(text.ok(), renders) << (text.ok() ? *text : text.error().message);
      if (text.ok() && renders) {
        EXPECT_EQ(show(*text), wanted) << *text;
      }
      ++compared;
    }
  }
  EXPECT_GT(compared, 30);
}

TEST(RealChatTemplate, RendersWhatTransformersRenders) {
  Compare("rendered.json", [](const std::string& text) { return text; });
}

TEST(RealChatTemplate, RendersWhatTransformersRendersForEveryTemplateAtHand) {
  Compare("digests.json", [](const std::string& text) { return Digest(text); });
}

}  // namespace
}  // namespace weft::text
