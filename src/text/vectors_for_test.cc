#include "text/vectors_for_test.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/json_value.h"

namespace weft::text {
namespace {

std::string FromBase64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = (bits << 6) | static_cast<uint32_t>(kDigits.find(c));
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>((bits >> count) & 0xFF));
    }
  }
  return out;
}

std::vector<TokenId> ReadIds(simdjson::dom::element value) {
  simdjson::dom::array list;
  WEFT_CHECK(value.get(list) == simdjson::SUCCESS);
  std::vector<TokenId> ids;
  for (const simdjson::dom::element id : list) {
    int64_t number = 0;
    WEFT_CHECK(id.get(number) == simdjson::SUCCESS);
    ids.push_back(static_cast<TokenId>(number));
  }
  return ids;
}

}  // namespace

std::string ReadFileForTest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  WEFT_CHECK(file);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

std::string VocabulariesForTest() {
  if (const char* folder = std::getenv("WEFT_VOCABULARIES")) return folder;
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.cache/weft/vocabularies";
}

std::vector<Vector> ReadVectorsForTest(const std::string& path) {
  simdjson::dom::parser parser;
  simdjson::dom::array list;
  WEFT_CHECK(parser.parse(simdjson::padded_string(ReadFileForTest(path))).get(list) ==
             simdjson::SUCCESS);
  std::vector<Vector> vectors;
  for (const simdjson::dom::element item : list) {
    Vector vector;
    vector.name = std::string(JsonString(item, "name"));
    vector.text = FromBase64(JsonString(item, "text"));
    bool found = false;
    vector.ids = ReadIds(JsonMember(item, "ids", found));
    vector.with_special = vector.ids;
    const simdjson::dom::element with_special = JsonMember(item, "with_special", found);
    if (found) vector.with_special = ReadIds(with_special);
    (void)JsonMember(item, "decoded", found);
    if (found) vector.decoded = FromBase64(JsonString(item, "decoded"));
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

void ExpectVectors(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<Vector>& vectors) {
  ASSERT_FALSE(vectors.empty());
  for (const Vector& vector : vectors) {
    SCOPED_TRACE(vector.name);
    const auto ids = tokenizer->Encode(vector.text, SpecialTokens::kDoNotAdd);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, vector.ids);
    const std::string expected = vector.decoded.value_or(vector.text);
    EXPECT_EQ(tokenizer->Decode(vector.ids, false), expected);
    Detokenizer detokenizer(tokenizer, false, TextPosition::kStart);
    std::string streamed;
    for (const TokenId id : vector.ids) streamed += detokenizer.Append(id);
    EXPECT_EQ(streamed + detokenizer.Finish(), expected);
  }
}

}  // namespace weft::text
