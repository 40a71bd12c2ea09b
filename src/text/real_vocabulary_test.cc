// Real vocabularies, fetched by scripts/fetch-test-vocabularies: equal, token for token, to what
// the reference libraries make of the same files.

#include <gtest/gtest.h>

#include <sstream>

#include "base/source_folder_for_test.h"
#include "text/gguf_metadata_for_test.h"
#include "text/tokenizer.h"
#include "text/vectors_for_test.h"

namespace weft::text {
namespace {

std::string VectorFile(const std::string& name) {
  return SourceFolder() + "/tests/data/tokenizer/" + name + ".vectors.json";
}

std::shared_ptr<const Tokenizer> Load(const std::string& path) {
  auto tokenizer = path.ends_with(".gguf")
                       ? Tokenizer::FromGguf(ReadGgufVocabularyForTest(path))
                       : Tokenizer::FromTokenizerJson(ReadFileForTest(path), "");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *tokenizer : nullptr;
}

struct Real {
  const char* vectors;
  const char* file;  // Under VocabulariesForTest().
};

class RealVocabulary : public testing::TestWithParam<Real> {};

TEST_P(RealVocabulary, AgreesWithTheReference) {
  const std::string path = VocabulariesForTest() + "/" + GetParam().file;
  WEFT_SKIP_WITHOUT(path);
  const auto tokenizer = Load(path);
  ASSERT_NE(tokenizer, nullptr);
  ExpectVectors(tokenizer, ReadVectorsForTest(VectorFile(GetParam().vectors)));
}

INSTANTIATE_TEST_SUITE_P(, RealVocabulary,
                         testing::Values(Real{"qwen2", "qwen2/tokenizer.json"},
                                         Real{"deepseek", "deepseek/tokenizer.json"},
                                         Real{"smollm2", "../models/smollm2.gguf"},
                                         Real{"llama-bpe", "llama.cpp/ggml-vocab-llama-bpe.gguf"}));

class SentencePieceFile : public testing::TestWithParam<const char*> {};

// sentencepiece itself finds no special tokens in a text, which Weft does as transformers does it:
// texts that hold one are left out.
TEST_P(SentencePieceFile, AgreesWithTheReference) {
  const std::string path = VocabulariesForTest() + "/" + GetParam() + "/tokenizer.model";
  WEFT_SKIP_WITHOUT(path);
  const auto tokenizer = Tokenizer::FromSentencePiece(ReadFileForTest(path), "");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->num_special_tokens_to_add(), 1);
  auto vectors = ReadVectorsForTest(VectorFile(GetParam()));
  const size_t all = vectors.size();
  std::erase_if(vectors, [&](const Vector& vector) {
    for (TokenId id = 0; id < (*tokenizer)->vocabulary_size(); ++id) {
      const std::string_view token = (*tokenizer)->TokenText(id);
      if ((*tokenizer)->IsSpecial(id) && vector.text.find(token) != std::string::npos) return true;
    }
    return false;
  });
  EXPECT_LT(all - vectors.size(), 20U);
  ExpectVectors(*tokenizer, vectors);
}

INSTANTIATE_TEST_SUITE_P(, SentencePieceFile,
                         testing::Values("mistral-v1", "mistral-v3", "mistral-v7"));

class GgufVocabularyFile : public testing::TestWithParam<const char*> {};

// The .inp file holds texts, the .out file a line of ids for each, made by the models' own
// tokenizers.
TEST_P(GgufVocabularyFile, AgreesWithTheIdsBesideIt) {
  const std::string path = VocabulariesForTest() + "/llama.cpp/ggml-vocab-" + GetParam() + ".gguf";
  WEFT_SKIP_WITHOUT(path);
  const auto tokenizer = Load(path);
  ASSERT_NE(tokenizer, nullptr);
  const std::string texts = ReadFileForTest(path + ".inp");
  std::istringstream lines(ReadFileForTest(path + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string line;
  size_t at = 0;
  int cases = 0;
  while (std::getline(lines, line)) {
    const size_t end = texts.find(separator, at);
    ASSERT_NE(end, std::string::npos);
    const std::string text = texts.substr(at, end - at);
    at = end + separator.size();
    std::istringstream numbers(line);
    const std::vector<TokenId> expected{std::istream_iterator<TokenId>(numbers), {}};
    const auto ids = tokenizer->Encode(text, SpecialTokens::kDoNotAdd);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, expected) << testing::PrintToString(text);
    ++cases;
  }
  EXPECT_GT(cases, 40);
}

INSTANTIATE_TEST_SUITE_P(, GgufVocabularyFile,
                         testing::Values("command-r", "deepseek-coder", "deepseek-llm", "falcon",
                                         "gpt-2", "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2",
                                         "qwen35", "refact", "starcoder"));

}  // namespace
}  // namespace weft::text
