// GGUF: the parser against hand-made bytes, and files that gguf-py wrote.
#include "checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/source_folder_for_test.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/gguf_source.h"
#include "checkpoint/json_object.h"
#include "checkpoint/model_files.h"
#include "checkpoint/required_tensors.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kData = SourceFolder() + "/tests/data";

/// Builds GGUF bytes by hand.
class Bytes3 {
 public:
  Bytes3(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    text_ = "GGUF";
    Put(version).Put(tensors).Put(values);
  }
  template <typename T>
  Bytes3& Put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes3& Text(std::string_view text) {
    Put<uint64_t>(text.size());
    text_ += text;
    return *this;
  }
  Bytes3& Uint32(std::string_view key, uint32_t value) {
    return Text(key).Put<uint32_t>(4).Put(value);
  }
  Bytes3& String(std::string_view key, std::string_view value) {
    return Text(key).Put<uint32_t>(8).Text(value);
  }
  Bytes3& Tensor(std::string_view name, std::vector<uint64_t> sizes, uint32_t type,
                 uint64_t offset) {
    Text(name).Put<uint32_t>(static_cast<uint32_t>(sizes.size()));
    for (uint64_t size : sizes) Put(size);
    return Put(type).Put(offset);
  }
  Bytes3& Data(size_t bytes) {
    text_.resize((text_.size() + 31) / 32 * 32 + bytes);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Result<std::optional<GgufHeader>> Parse(std::string_view text) {
  return ParseGguf(std::as_bytes(std::span(text)), static_cast<Bytes>(text.size()), "x.gguf");
}

std::string ErrorOf(const Bytes3& bytes) {
  auto parsed = Parse(bytes.text());
  EXPECT_FALSE(parsed.ok());
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(Gguf, ParsesEveryTypeOfValue) {
  Bytes3 bytes(1, 14);
  bytes.Text("u8").Put<uint32_t>(0).Put<uint8_t>(200);
  bytes.Text("i8").Put<uint32_t>(1).Put<int8_t>(-5);
  bytes.Text("u16").Put<uint32_t>(2).Put<uint16_t>(60000);
  bytes.Text("i16").Put<uint32_t>(3).Put<int16_t>(-6);
  bytes.Uint32("u32", 4'000'000'000u);
  bytes.Text("i32").Put<uint32_t>(5).Put<int32_t>(-7);
  bytes.Text("f32").Put<uint32_t>(6).Put<float>(1.5F);
  bytes.Text("bool").Put<uint32_t>(7).Put<uint8_t>(1);
  bytes.String("string", "hello");
  bytes.Text("strings").Put<uint32_t>(9).Put<uint32_t>(8).Put<uint64_t>(2).Text("a").Text("bc");
  bytes.Text("u64").Put<uint32_t>(10).Put<uint64_t>(1ull << 40);
  bytes.Text("i64").Put<uint32_t>(11).Put<int64_t>(-(1ll << 40));
  bytes.Text("f64").Put<uint32_t>(12).Put<double>(2.5);
  bytes.Text("floats").Put<uint32_t>(9).Put<uint32_t>(6).Put<uint64_t>(2).Put(1.0F).Put(2.0F);
  bytes.Tensor("t", {64, 2}, 8, 0).Data(2 * 2 * 34);
  auto parsed = Parse(bytes.text());
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const GgufHeader& header = **parsed;
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(*header.Find<int64_t>("u8"), 200);
  EXPECT_EQ(*header.Find<int64_t>("i8"), -5);
  EXPECT_EQ(*header.Find<int64_t>("u16"), 60000);
  EXPECT_EQ(*header.Find<int64_t>("i16"), -6);
  EXPECT_EQ(*header.Find<int64_t>("u32"), 4'000'000'000);
  EXPECT_EQ(*header.Find<int64_t>("i32"), -7);
  EXPECT_EQ(*header.Find<double>("f32"), 1.5);
  EXPECT_TRUE(*header.Find<bool>("bool"));
  EXPECT_EQ(*header.Find<std::string>("string"), "hello");
  EXPECT_EQ(std::get<std::vector<std::string>>(*header.Find<GgufArray>("strings")),
            (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(*header.Find<int64_t>("u64"), 1ll << 40);
  EXPECT_EQ(*header.Find<int64_t>("i64"), -(1ll << 40));
  EXPECT_EQ(*header.Find<double>("f64"), 2.5);
  EXPECT_EQ(std::get<std::vector<double>>(*header.Find<GgufArray>("floats")),
            (std::vector<double>{1, 2}));
  EXPECT_EQ(header.Find<bool>("u8"), nullptr);
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].shape, (std::vector<int64_t>{2, 64}));
  EXPECT_EQ(header.tensors[0].size, 2 * 2 * 34);
  EXPECT_EQ(header.tensors[0].offset % 32, 0);
}

TEST(Gguf, AsksForMoreWhereThePrefixEndsAndRefusesWhereTheFileDoes) {
  Bytes3 bytes(1, 1);
  bytes.String("key", "value").Tensor("t", {4}, 0, 0).Data(16);
  const std::string& text = bytes.text();
  const size_t header_end = text.size() - 16;
  for (size_t length = 0; length < text.size(); ++length) {
    const auto prefix = std::as_bytes(std::span(text).first(length));
    auto more = ParseGguf(prefix, static_cast<Bytes>(text.size()), "x");
    ASSERT_TRUE(more.ok()) << length;
    EXPECT_TRUE(length + 32 >= header_end || !more->has_value()) << length;
    EXPECT_FALSE(ParseGguf(prefix, static_cast<Bytes>(length), "x").ok()) << length;
  }
}

TEST(Gguf, NamesWhatIsWrong) {
  EXPECT_THAT(ErrorOf(Bytes3(0, 0, 1)), HasSubstr("version 1 is not supported"));
  EXPECT_THAT(ErrorOf(Bytes3(1ull << 40, 0)), HasSubstr("announces"));
  EXPECT_FALSE(Parse("GGML....................").ok());
  EXPECT_THAT(ErrorOf(Bytes3(0, 1).Text("k").Put<uint32_t>(99)), HasSubstr("unknown type 99"));
  EXPECT_THAT(
      ErrorOf(Bytes3(0, 1).Text("k").Put<uint32_t>(9).Put<uint32_t>(8).Put<uint64_t>(1ull << 60)),
      HasSubstr("cut short or corrupt"));
  EXPECT_THAT(ErrorOf(Bytes3(0, 1).Text("k").Put<uint32_t>(9).Put<uint32_t>(9).Put<uint64_t>(0)),
              HasSubstr("array of arrays"));
  EXPECT_THAT(ErrorOf(Bytes3(0, 1).Put<uint64_t>(1ull << 63)), HasSubstr("length"));
  EXPECT_THAT(ErrorOf(Bytes3(0, 2).Uint32("k", 1).Uint32("k", 1)), HasSubstr("'k' twice"));
  EXPECT_THAT(ErrorOf(Bytes3(0, 1).Uint32("general.alignment", 3)), HasSubstr("power of two"));
  EXPECT_THAT(ErrorOf(Bytes3(0, 1).Text("k").Put<uint32_t>(10).Put<uint64_t>(~0ull)),
              HasSubstr("more than 2^63"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {256}, 16, 0).Data(1000)),
              HasSubstr("tensor 'w': IQ2_XXS is not supported; supported: F32, F16, BF16, Q8_0, "
                        "Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {256}, 77, 0).Data(1000)),
              HasSubstr("tensor type 77 is not supported"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {33}, 2, 0).Data(1000)),
              HasSubstr("rows of 33 elements, but Q4_0 needs a multiple of 32"));
  EXPECT_THAT(
      ErrorOf(Bytes3(1, 0).Tensor("w", {128, 2}, 12, 0).Data(1000)),
      HasSubstr("tensor 'w' has rows of 128 elements, but Q4_K needs a multiple of 256: the "
                "file is corrupt, or must be made again with this tensor as F16"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {256, 2}, 14, 0).Data(2 * 210 - 1)),
              HasSubstr("tensor 'w' of 420 bytes at"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {1ull << 40, 1ull << 40}, 0, 0).Data(8)),
              HasSubstr("more elements"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {1, 1, 1, 1, 1}, 0, 0).Data(8)),
              HasSubstr("5 dimensions"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {8}, 0, 5).Data(64)), HasSubstr("multiple of the"));
  EXPECT_THAT(ErrorOf(Bytes3(1, 0).Tensor("w", {8}, 0, 64).Data(64)), HasSubstr("beyond"));
  EXPECT_THAT(ErrorOf(Bytes3(2, 0).Tensor("w", {4}, 0, 0).Tensor("w", {4}, 0, 32).Data(64)),
              HasSubstr("listed twice"));
  EXPECT_THAT(ErrorOf(Bytes3(2, 0).Tensor("v", {16}, 0, 0).Tensor("w", {4}, 0, 32).Data(64)),
              HasSubstr("'v' and 'w' overlap"));
}

std::vector<float> ReadTensor(const TensorSource& source, std::string_view name) {
  const TensorInfo* tensor = source.Find(name);
  EXPECT_NE(tensor, nullptr) << name;
  const int64_t rows = tensor->shape.size() == 2 ? tensor->shape[0] : 1;
  std::vector<float> values(static_cast<size_t>(rows * tensor->shape.back()));
  EXPECT_TRUE(source.ReadRows(*tensor, 0, rows, values).ok());
  return values;
}

TEST(GgufModel, LosslessFilesEqualTheirSafetensors) {
  for (const char* name : {"llama-bias", "qwen3"}) {
    SCOPED_TRACE(name);
    auto original = OpenModel(LocalFiles(), kData + "/models/" + name);
    auto converted = OpenModel(LocalFiles(), kData + "/gguf/" + name + ".gguf");
    ASSERT_TRUE(original.ok() && converted.ok()) << converted.error().message;
    const ModelConfig& a = original->config;
    const ModelConfig& b = converted->config;
    EXPECT_EQ(a.architecture, b.architecture);
    EXPECT_EQ(a.head_dim, b.head_dim);
    EXPECT_EQ(a.kv_heads, b.kv_heads);
    EXPECT_EQ(a.vocabulary, b.vocabulary);
    EXPECT_EQ(a.rms_epsilon, b.rms_epsilon);
    EXPECT_EQ(a.rope.theta, b.rope.theta);
    EXPECT_EQ(a.rope.scaling, b.rope.scaling);
    EXPECT_EQ(a.rope.factor, b.rope.factor);
    EXPECT_EQ(a.qkv_bias, b.qkv_bias);
    EXPECT_EQ(a.output_bias, b.output_bias);
    EXPECT_EQ(a.qk_norm, b.qk_norm);
    EXPECT_EQ(b.notes, std::vector<std::string>());
    for (const TensorInfo& tensor : RequiredTensors(a)) {
      EXPECT_EQ(ReadTensor(*original->tensors, tensor.name),
                ReadTensor(*converted->tensors, tensor.name))
          << tensor.name;
    }
  }
}

std::string Fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (std::byte byte : std::as_bytes(std::span(values))) {
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  }
  return fmt::format("{:016x}", hash);
}

/// Compares every tensor of a file with what gguf-py made of it; how many there are.
int ExpectGguf(const std::string& name, const TensorSource& tensors) {
  auto text = LocalFiles().ReadText(kData + "/gguf/expected.json");
  auto document = JsonDocument::Parse(*text, "expected.json");
  EXPECT_TRUE(document.ok());
  auto expected = document->root().GetObject(name);
  EXPECT_TRUE(expected.ok() && expected->has_value());
  int compared = 0;
  for (auto field : (*expected)->object()) {
    EXPECT_EQ(Fnv1a(ReadTensor(tensors, field.key)),
              std::string_view(field.value.get_string().value_unsafe()))
        << field.key;
    ++compared;
  }
  return compared;
}

TEST(GgufModel, EveryTensorIsBitEqualToGgufPy) {
  auto model = OpenModel(LocalFiles(), kData + "/gguf/llama.gguf");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->config.rope.scaling, RopeScaling::kLlama3);
  EXPECT_EQ(model->config.rope.factor, 8.0);
  EXPECT_EQ(model->config.rope.original_context, 32);
  EXPECT_EQ(model->config.name, "llama.gguf");
  EXPECT_EQ(ExpectGguf("llama", *model->tensors), 21);
}

TEST(GgufModel, EveryTensorOfAMixOfKQuantsIsBitEqualToGgufPy) {
  auto model = OpenModel(LocalFiles(), kData + "/gguf/k-quants.gguf");
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->config.notes, std::vector<std::string>());
  std::set<std::string_view> types;
  for (const TensorInfo& tensor : RequiredTensors(model->config)) {
    types.insert(StoredTypeName(model->tensors->Find(tensor.name)->type));
  }
  EXPECT_THAT(types,
              ElementsAre("F32", "Q2_K", "Q3_K", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"));
  EXPECT_EQ(ExpectGguf("k-quants", *model->tensors), 21);
}

TEST(GgufModel, AnyRowsOfAPermutedTensorAreThoseOfTheWhole) {
  for (const char* file : {"llama", "k-quants"}) {
    SCOPED_TRACE(file);
    auto model = OpenModel(LocalFiles(), kData + "/gguf/" + file + ".gguf");
    ASSERT_TRUE(model.ok());
    const std::string name = "model.layers.1.self_attn.k_proj.weight";
    const std::vector<float> whole = ReadTensor(*model->tensors, name);
    const TensorInfo& tensor = *model->tensors->Find(name);
    const int64_t columns = tensor.shape[1];
    for (int64_t first = 0; first < 32; ++first) {
      for (int64_t rows = 0; first + rows <= 32; ++rows) {
        std::vector<float> part(static_cast<size_t>(rows * columns));
        ASSERT_TRUE(model->tensors->ReadRows(tensor, first, rows, part).ok());
        ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + first * columns));
      }
    }
  }
}

/// A file in memory.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string bytes) : bytes_(std::move(bytes)) {}
  Bytes size() const override { return static_cast<Bytes>(bytes_.size()); }
  Status Read(Bytes offset, std::span<std::byte> into) const override {
    WEFT_CHECK(offset + static_cast<Bytes>(into.size()) <= size());
    std::memcpy(into.data(), bytes_.data() + offset, into.size());
    return OkStatus();
  }

 private:
  const std::string bytes_;
};

TEST(GgufModel, ABlockOfABiasMayHoldSeveralHeads) {
  std::string blocks;
  for (char block = 0; block < 2; ++block) {
    blocks += std::string("\x00\x3c", 2);  // A scale of 1, then 32 quants.
    for (char i = 0; i < 32; ++i) blocks.push_back(static_cast<char>(32 * block + i));
  }
  GgufHeader header;
  header.tensors.push_back(GgufTensor{"blk.0.attn_q.bias", StoredType::kQ8_0, {64}, 0, 68});
  ModelConfig config;
  config.head_dim = 16;
  const GgufSource source(std::make_unique<MemoryFile>(blocks), header, config, true);
  const std::vector<float> values = ReadTensor(source, "model.layers.0.self_attn.q_proj.bias");
  ASSERT_EQ(values.size(), 64u);
  for (int head = 0; head < 4; ++head) {
    for (int i = 0; i < 16; ++i) {
      EXPECT_EQ(values[head * 16 + i], head * 16 + 2 * (i % 8) + i / 8) << head << ", " << i;
    }
  }
}

TEST(GgufModel, VocabularyAndTemplateComeFromTheMetadata) {
  auto model = OpenModelConfigOnly(LocalFiles(), kData + "/gguf/llama.gguf");
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->tensors, nullptr);
  ASSERT_TRUE(model->gguf_vocabulary.has_value());
  const GgufVocabulary& vocabulary = *model->gguf_vocabulary;
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  EXPECT_EQ(vocabulary.tokens.size(), 272u);
  EXPECT_EQ(vocabulary.types.size(), 272u);
  EXPECT_EQ(vocabulary.tokens[269], "<|endoftext|>");
  EXPECT_EQ(vocabulary.types[269], 3);
  EXPECT_EQ(vocabulary.merges.size(), 13u);
  EXPECT_EQ(vocabulary.eos, 269);
  EXPECT_EQ(vocabulary.bos, -1);
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_THAT(model->gguf_chat_template, HasSubstr("im_start"));
  EXPECT_EQ(model->config.end_tokens, std::vector<TokenId>{269});
}

GgufHeader LlamaHeader() {
  GgufHeader header;
  header.metadata = {
      {"general.architecture", std::string("llama")}, {"llama.embedding_length", int64_t{64}},
      {"llama.feed_forward_length", int64_t{96}},     {"llama.block_count", int64_t{2}},
      {"llama.attention.head_count", int64_t{4}},     {"llama.attention.head_count_kv", int64_t{2}},
      {"llama.context_length", int64_t{256}}};
  header.tensors.push_back(GgufTensor{"token_embd.weight", StoredType::kF32, {272, 64}, 0, 0});
  return header;
}

std::string ConfigErrorOf(std::string_view key, GgufValue value) {
  GgufHeader header = LlamaHeader();
  header.metadata.insert_or_assign(std::string(key), std::move(value));
  auto config = ParseGgufConfig(header, "x.gguf");
  EXPECT_FALSE(config.ok()) << key;
  return config.ok() ? "" : config.error().message;
}

TEST(GgufModel, ConfigsAreChecked) {
  auto config = ParseGgufConfig(LlamaHeader(), "x.gguf");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_THAT(ConfigErrorOf("general.architecture", std::string("gemma3")),
              HasSubstr("not supported: architecture gemma3; supported: llama, qwen2, qwen3"));
  EXPECT_THAT(ConfigErrorOf("llama.expert_count", int64_t{8}), HasSubstr("8 experts"));
  EXPECT_THAT(ConfigErrorOf("llama.block_count", int64_t{-1}), HasSubstr("from 1 to"));
  EXPECT_THAT(ConfigErrorOf("llama.attention.head_count", GgufArray(std::vector<int64_t>{1, 2})),
              HasSubstr("not one integer"));
  EXPECT_THAT(ConfigErrorOf("llama.attention.head_count_kv", int64_t{3}), HasSubstr("multiple"));
  EXPECT_THAT(ConfigErrorOf("llama.rope.dimension_count", int64_t{8}), HasSubstr("must be equal"));
  EXPECT_THAT(ConfigErrorOf("llama.rope.scaling.type", std::string("yarn")),
              HasSubstr("rope scaling 'yarn'"));
  EXPECT_THAT(ConfigErrorOf("llama.rope.freq_base", -1.0), HasSubstr("must be from"));
}

TEST(GgufModel, AShortWindowCapsTheContext) {
  GgufHeader header = LlamaHeader();
  header.metadata["llama.attention.sliding_window"] = int64_t{100};
  auto config = ParseGgufConfig(header, "x.gguf");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->context_length, 100);
  ASSERT_EQ(config->notes.size(), 1u);
  EXPECT_THAT(config->notes[0], HasSubstr("capped from 256 to 100"));
}

TEST(GgufModel, RopeFactorsThatAreNotLlamasAreRefused) {
  ModelConfig config = *ParseGgufConfig(LlamaHeader(), "x.gguf");
  const std::vector<float> ones(8, 1.0F);
  EXPECT_TRUE(ApplyRopeFactors(ones, LlamaHeader(), "x.gguf", config).ok());
  EXPECT_EQ(config.rope.scaling, RopeScaling::kNone);
  const std::vector<float> others = {1, 1.5F, 2, 2.5F, 3, 4, 5, 6};
  const Status status = ApplyRopeFactors(others, LlamaHeader(), "x.gguf", config);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("'rope_freqs.weight' has the factor 1.5 at 1"));
  EXPECT_FALSE(ApplyRopeFactors(std::span(ones).first(3), LlamaHeader(), "x.gguf", config).ok());
}

TEST(GgufModel, TranslatesNames) {
  EXPECT_EQ(HuggingFaceName("blk.12.ffn_up.weight"), "model.layers.12.mlp.up_proj.weight");
  EXPECT_EQ(HuggingFaceName("output.weight"), "lm_head.weight");
  EXPECT_EQ(HuggingFaceName("blk.x.ffn_up.weight"), std::nullopt);
  EXPECT_EQ(HuggingFaceName("blk.1"), std::nullopt);
  EXPECT_EQ(HuggingFaceName("blk.1.ffn_up"), std::nullopt);
  EXPECT_EQ(HuggingFaceName("rope_freqs.weight"), std::nullopt);
}

}  // namespace
}  // namespace weft::checkpoint
