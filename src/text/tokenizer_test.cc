#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/source_folder_for_test.h"
#include "text/vectors_for_test.h"

namespace weft::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string SmallFile(const std::string& name) {
  return SourceFolder() + "/tests/data/tokenizer/small/" + name;
}

std::shared_ptr<const Tokenizer> LoadJson(std::string_view json, std::string_view config = "") {
  auto tokenizer = Tokenizer::FromTokenizerJson(json, config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *tokenizer : nullptr;
}

std::shared_ptr<const Tokenizer> LoadSmall(const std::string& name) {
  return LoadJson(ReadFileForTest(SmallFile(name + ".json")));
}

std::vector<TokenId> Encode(const std::shared_ptr<const Tokenizer>& tokenizer,
                            std::string_view text,
                            SpecialTokens special = SpecialTokens::kDoNotAdd) {
  const auto ids = tokenizer->Encode(text, special);
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  return ids.ok() ? *ids : std::vector<TokenId>();
}

class SmallTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(SmallTokenizer, AgreesWithTheReference) {
  const auto tokenizer = LoadSmall(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const auto vectors = ReadVectorsForTest(SmallFile(std::string(GetParam()) + ".vectors.json"));
  ExpectVectors(tokenizer, vectors);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(Encode(tokenizer, vector.text, SpecialTokens::kAdd), vector.with_special)
        << vector.name;
    EXPECT_EQ(vector.with_special.size() - vector.ids.size(),
              static_cast<size_t>(tokenizer->num_special_tokens_to_add()));
  }
}

INSTANTIATE_TEST_SUITE_P(, SmallTokenizer,
                         testing::Values("gpt2", "llama2", "llama3", "metaspace", "mistral",
                                         "qwen2", "smollm2", "splits"));

TEST(Tokenizer, KnowsItsTokens) {
  const auto tokenizer =
      LoadJson(ReadFileForTest(SmallFile("llama3.json")),
               R"({"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}})");
  const TokenId begin = *tokenizer->Find("<|begin|>");
  EXPECT_EQ(tokenizer->bos(), begin);
  EXPECT_EQ(tokenizer->eos(), *tokenizer->Find("<|end|>"));
  EXPECT_TRUE(tokenizer->IsSpecial(begin));
  EXPECT_EQ(tokenizer->TokenBytes(begin), "<|begin|>");
  EXPECT_EQ(tokenizer->num_special_tokens_to_add(), 1);
  const TokenId the = *tokenizer->Find("Ġthe");
  EXPECT_EQ(tokenizer->TokenText(the), "Ġthe");
  EXPECT_EQ(tokenizer->TokenBytes(the), " the");
  EXPECT_FALSE(tokenizer->IsSpecial(the));
  EXPECT_EQ(tokenizer->Find("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer->vocabulary_size(), begin + 3);
}

TEST(Tokenizer, SkipsSpecialTokensAndIgnoresIdsOutOfRange) {
  const auto tokenizer = LoadSmall("llama3");
  auto ids = Encode(tokenizer, "the weft", SpecialTokens::kAdd);
  ids.insert(ids.end(), {-1, 1 << 30, tokenizer->vocabulary_size()});
  EXPECT_EQ(tokenizer->Decode(ids, true), "the weft");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<|begin|>the weft");
  EXPECT_EQ(tokenizer->TokenText(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(1 << 30), "");
  EXPECT_FALSE(tokenizer->IsSpecial(1 << 30));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = LoadSmall("llama3");
  for (const auto& [text, offset] :
       std::vector<std::pair<std::string, std::string>>{{"ab\xFF", "offset 2"},
                                                        {"\xC0\x80", "offset 0"},
                                                        {"a\xED\xA0\x80", "offset 1"},
                                                        {"abc\xE2\x82", "offset 3"},
                                                        {"\xF4\x90\x80\x80", "offset 0"}}) {
    const auto ids = tokenizer->Encode(text, SpecialTokens::kAdd);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(ids.error().message, HasSubstr(offset));
  }
}

// Would take hours if anything were quadratic.
TEST(Tokenizer, EncodesAMebibyteOfOneLetter) {
  for (const char* name : {"llama3", "llama2"}) {
    const auto tokenizer = LoadSmall(name);
    for (const char letter : {'a', ' ', '1', '\n', '!'}) {
      const std::string text(1 << 20, letter);
      EXPECT_TRUE(tokenizer->Decode(Encode(tokenizer, text), false) == text) << letter;
    }
  }
}

TEST(Tokenizer, EncodesOnManyThreads) {
  const auto tokenizer = LoadSmall("qwen2");
  const std::string text = "The weaver's weft, e\xCC\x81 12 times <|im_start|>";
  const auto expected = Encode(tokenizer, text);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) EXPECT_EQ(Encode(tokenizer, text), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A tokenizer.json with one component replaced.
std::string JsonWith(const std::string& member, const std::string& value) {
  std::vector<std::pair<std::string, std::string>> members = {
      {"added_tokens", "[]"},
      {"normalizer", "null"},
      {"pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})"},
      {"post_processor", "null"},
      {"decoder", R"({"type": "ByteLevel"})"},
      {"model", R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})"}};
  std::string json = "{\"version\": \"1.0\"";
  for (const auto& [key, own] : members) {
    json += ", \"" + key + "\": " + (key == member ? value : own);
  }
  return json + "}";
}

struct Refusal {
  const char* member;
  const char* value;
  ErrorCode code;
  const char* message;
};

TEST(Tokenizer, RefusesWhatItDoesNotKnowByName) {
  constexpr auto kUnsupported = ErrorCode::kUnsupported;
  constexpr auto kInvalid = ErrorCode::kInvalidArgument;
  const std::vector<Refusal> refusals = {
      {"normalizer", R"({"type": "BertNormalizer"})", kUnsupported, "BertNormalizer"},
      {"pre_tokenizer", R"({"type": "UnicodeScripts"})", kUnsupported, "UnicodeScripts"},
      {"post_processor", R"({"type": "BertProcessing"})", kUnsupported, "BertProcessing"},
      {"decoder", R"({"type": "WordPiece"})", kUnsupported, "WordPiece"},
      {"decoder", "null", kUnsupported, "decoder"},
      {"model", R"({"type": "Unigram"})", kUnsupported, "Unigram"},
      {"model", R"({"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1})", kUnsupported,
       "dropout"},
      {"model", R"({"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "</w>"})",
       kUnsupported, "end_of_word_suffix"},
      {"model", R"({"type": "BPE", "merges": []})", kInvalid, "vocab"},
      {"model", R"({"type": "BPE", "vocab": {"a": -1}, "merges": []})", kInvalid, "\"a\""},
      {"model", R"({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []})", kInvalid, "both"},
      {"model", R"({"type": "BPE", "vocab": {"a": 99999999}, "merges": []})", kInvalid, "\"a\""},
      {"model", R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]})", kInvalid, "merge 0"},
      {"model", R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["aa"]})", kInvalid, "merge 0"},
      {"model", R"({"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]})", kInvalid, "merge 0"},
      {"model", R"({"type": "BPE", "vocab": {}, "merges": [], "unk_token": "?"})", kInvalid,
       "\"?\""},
      {"model", "null", kInvalid, "model"},
      {"added_tokens", R"([{"content": "x"}])", kInvalid, "\"x\""},
      {"added_tokens", "3", kInvalid, "added_tokens"},
      {"pre_tokenizer",
       R"({"type": "Split", "pattern": {"Regex": "["}, "behavior": "Isolated", "invert": false})",
       kUnsupported, "not closed"},
      {"pre_tokenizer",
       R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Odd", "invert": false})",
       kUnsupported, "Odd"},
      {"post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
           {"Sequence": {"id": "A"}}], "special_tokens": {}})",
       kInvalid, "<s>"},
      {"post_processor", R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})",
       kInvalid, "leaves out"},
  };
  for (const Refusal& refusal : refusals) {
    const auto tokenizer =
        Tokenizer::FromTokenizerJson(JsonWith(refusal.member, refusal.value), "");
    ASSERT_FALSE(tokenizer.ok()) << refusal.value;
    EXPECT_EQ(tokenizer.error().code, refusal.code) << tokenizer.error().message;
    EXPECT_THAT(tokenizer.error().message, HasSubstr(refusal.message));
  }
  EXPECT_TRUE(Tokenizer::FromTokenizerJson(JsonWith("", ""), "").ok());
}

TEST(Tokenizer, RefusesMalformedJson) {
  for (const char* json : {"", "{", "[]", "3", "{\"model\": {\"type\": \"BPE\"", "\xFF"}) {
    const auto tokenizer = Tokenizer::FromTokenizerJson(json, "");
    ASSERT_FALSE(tokenizer.ok()) << json;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidArgument);
  }
  const auto tokenizer = Tokenizer::FromTokenizerJson(JsonWith("", ""), "{");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer_config.json"));
}

TEST(Tokenizer, AddedTokenOfTheModelKeepsTheModelsId) {
  const auto tokenizer =
      LoadJson(JsonWith("added_tokens", R"([{"id": 7, "content": "ab", "special": true}])"));
  EXPECT_THAT(Encode(tokenizer, "abab"), ElementsAre(2, 2));
  EXPECT_TRUE(tokenizer->IsSpecial(2));
}

GgufVocabulary SmallGguf() {
  GgufVocabulary gguf;
  gguf.model = "gpt2";
  gguf.pre = "llama-bpe";
  gguf.tokens = {"a", "b", "Ġ", "ab", "Ġab", "<|bos|>", "<user>"};
  gguf.types = {1, 1, 1, 1, 1, 3, 4};
  gguf.merges = {"a b", "Ġ ab"};
  gguf.bos = 5;
  gguf.add_bos = true;
  return gguf;
}

TEST(GgufTokenizer, EncodesAndDecodes) {
  const auto tokenizer = *Tokenizer::FromGguf(SmallGguf());
  EXPECT_THAT(Encode(tokenizer, "ab ab<user><|bos|>b", SpecialTokens::kAdd),
              ElementsAre(5, 3, 4, 6, 5, 1));
  EXPECT_EQ(tokenizer->Decode(std::vector<TokenId>{5, 3, 4, 6, 1}, true), "ab ab<user>b");
  EXPECT_EQ(tokenizer->bos(), 5);
  EXPECT_EQ(tokenizer->num_special_tokens_to_add(), 1);
}

TEST(GgufTokenizer, MergesByScore) {
  GgufVocabulary gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>", "<s>", "▁", "a", "b", "ab", "▁a", "aba", "<0xC3>", "<0xA9>"};
  gguf.types = {2, 3, 1, 1, 1, 1, 1, 1, 6, 6};
  gguf.scores = {0, 0, -9, -9, -9, -1, -2, -3, 0, 0};
  gguf.unk = 0;
  const auto tokenizer = *Tokenizer::FromGguf(gguf);
  // "ab" scores best and merges before "▁a"; "é" falls back to its bytes, "c" has none.
  EXPECT_THAT(Encode(tokenizer, "ab"), ElementsAre(2, 5));
  EXPECT_THAT(Encode(tokenizer, "aba"), ElementsAre(2, 7));
  EXPECT_THAT(Encode(tokenizer, "aéc"), ElementsAre(6, 8, 9, 0));
  EXPECT_EQ(tokenizer->Decode(Encode(tokenizer, " aé"), false), " aé");
  gguf.add_space_prefix = false;
  EXPECT_THAT(Encode(*Tokenizer::FromGguf(gguf), "ab"), ElementsAre(5));
}

TEST(GgufTokenizer, RefusesByName) {
  const auto refuse = [](auto change) {
    GgufVocabulary gguf = SmallGguf();
    change(gguf);
    const auto tokenizer = Tokenizer::FromGguf(gguf);
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? "" : tokenizer.error().message;
  };
  EXPECT_THAT(refuse([](auto& g) { g.model = "bert"; }), HasSubstr("\"bert\""));
  EXPECT_THAT(refuse([](auto& g) { g.pre = "martian"; }), HasSubstr("\"martian\""));
  EXPECT_THAT(refuse([](auto& g) { g.tokens.clear(); }), HasSubstr("tokens"));
  EXPECT_THAT(refuse([](auto& g) { g.types.pop_back(); }), HasSubstr("6 token types"));
  EXPECT_THAT(refuse([](auto& g) { g.bos = 7; }), HasSubstr("7"));
  EXPECT_THAT(refuse([](auto& g) { g.bos = -1; }), HasSubstr("BOS"));
  EXPECT_THAT(refuse([](auto& g) { g.merges = {"ab"}; }), HasSubstr("\"ab\""));
  EXPECT_THAT(refuse([](auto& g) { g.merges = {"b b"}; }), HasSubstr("merge 0"));
  EXPECT_THAT(refuse([](auto& g) { g.tokens[0] = "\xFF"; }), HasSubstr("UTF-8"));
  EXPECT_THAT(refuse([](auto& g) { g.model = "llama"; }), HasSubstr("scores"));
}

// A field of a protocol buffer: its number and bytes, fewer than 128.
std::string Field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}

std::string Number(int number, int value) {
  return std::string{static_cast<char>(number << 3), static_cast<char>(value)};
}

// A piece whose score is -1.
std::string Piece(const std::string& piece, int type) {
  return Field(1, Field(1, piece) + "\x15" + std::string("\0\0\x80\xBF", 4) + Number(3, type));
}

std::string SmallSentencePieceModel(int model_type = 2, int removes_spaces = 0) {
  return Piece("<unk>", 2) + Piece("<s>", 3) + Piece("</s>", 3) + Piece("▁", 1) + Piece("a", 1) +
         Piece("▁a", 1) + Piece("<0x62>", 6) + Field(2, Number(3, model_type)) +
         Field(3, Number(3, 1) + Number(4, removes_spaces));
}

TEST(SentencePieceTokenizer, ReadsAModel) {
  const auto tokenizer = *Tokenizer::FromSentencePiece(SmallSentencePieceModel(), "");
  EXPECT_THAT(Encode(tokenizer, "ab c", SpecialTokens::kAdd), ElementsAre(1, 5, 6, 3, 0));
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  const auto plain =
      *Tokenizer::FromSentencePiece(SmallSentencePieceModel(), R"({"add_bos_token": false})");
  EXPECT_EQ(plain->num_special_tokens_to_add(), 0);
}

TEST(SentencePieceTokenizer, RefusesOtherFiles) {
  const std::string model = SmallSentencePieceModel();
  for (size_t size = 0; size < model.size(); ++size) {
    EXPECT_FALSE(Tokenizer::FromSentencePiece(model.substr(0, size), "").ok()) << size;
  }
  const auto refuse = [](const std::string& bytes) {
    const auto tokenizer = Tokenizer::FromSentencePiece(bytes, "");
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.ok() ? "" : tokenizer.error().message;
  };
  EXPECT_THAT(refuse("{\"version\": 1}"), HasSubstr("not a sentencepiece model"));
  EXPECT_THAT(refuse(SmallSentencePieceModel(1)), HasSubstr("type 1"));
  EXPECT_THAT(refuse(SmallSentencePieceModel(2, 1)), HasSubstr("normalizes"));
}

}  // namespace
}  // namespace weft::text
