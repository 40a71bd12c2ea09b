#include "text/gguf_metadata_for_test.h"

#include <cstdint>
#include <fstream>
#include <map>
#include <vector>

#include "base/check.h"

namespace weft::text {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary) { WEFT_CHECK(file_); }

  template <typename T>
  T Read() {
    T value{};
    file_.read(reinterpret_cast<char*>(&value), sizeof(T));
    WEFT_CHECK(file_);
    return value;
  }

  std::string ReadString() {
    std::string text(Read<uint64_t>(), '\0');
    file_.read(text.data(), static_cast<std::streamsize>(text.size()));
    WEFT_CHECK(file_);
    return text;
  }

 private:
  std::ifstream file_;
};

// A metadata value; numbers of every kind as double.
struct Value {
  double number = 0;
  std::string text;
  std::vector<Value> list;
};

Value ReadValue(Reader& reader, uint32_t type) {
  switch (type) {
    case 0:
      return {static_cast<double>(reader.Read<uint8_t>())};
    case 1:
      return {static_cast<double>(reader.Read<int8_t>())};
    case 2:
      return {static_cast<double>(reader.Read<uint16_t>())};
    case 3:
      return {static_cast<double>(reader.Read<int16_t>())};
    case 4:
      return {static_cast<double>(reader.Read<uint32_t>())};
    case 5:
      return {static_cast<double>(reader.Read<int32_t>())};
    case 6:
      return {static_cast<double>(reader.Read<float>())};
    case 7:
      return {static_cast<double>(reader.Read<uint8_t>())};
    case 8:
      return {0, reader.ReadString()};
    case 9: {
      Value value;
      const auto element = reader.Read<uint32_t>();
      value.list.resize(reader.Read<uint64_t>());
      for (Value& item : value.list) item = ReadValue(reader, element);
      return value;
    }
    case 10:
      return {static_cast<double>(reader.Read<uint64_t>())};
    case 11:
      return {static_cast<double>(reader.Read<int64_t>())};
    case 12:
      return {reader.Read<double>()};
    default:
      WEFT_CHECK(false);
  }
}

std::map<std::string, Value> ReadMetadata(const std::string& path) {
  Reader reader(path);
  WEFT_CHECK(reader.Read<uint32_t>() == 0x46554747);  // "GGUF"
  WEFT_CHECK(reader.Read<uint32_t>() >= 2);
  (void)reader.Read<uint64_t>();
  std::map<std::string, Value> metadata;
  const auto count = reader.Read<uint64_t>();
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = reader.ReadString();
    const auto type = reader.Read<uint32_t>();
    metadata.emplace(std::move(key), ReadValue(reader, type));
  }
  return metadata;
}

}  // namespace

std::string ReadGgufChatTemplateForTest(const std::string& path) {
  return ReadMetadata(path)["tokenizer.chat_template"].text;
}

GgufVocabulary ReadGgufVocabularyForTest(const std::string& path) {
  std::map<std::string, Value> metadata = ReadMetadata(path);
  const auto number = [&](const std::string& key, double absent) {
    const auto found = metadata.find("tokenizer.ggml." + key);
    return found == metadata.end() ? absent : found->second.number;
  };
  GgufVocabulary vocabulary;
  vocabulary.model = metadata["tokenizer.ggml.model"].text;
  vocabulary.pre = metadata["tokenizer.ggml.pre"].text;
  for (Value& v : metadata["tokenizer.ggml.tokens"].list) vocabulary.tokens.push_back(v.text);
  for (Value& v : metadata["tokenizer.ggml.merges"].list) vocabulary.merges.push_back(v.text);
  for (Value& v : metadata["tokenizer.ggml.token_type"].list) {
    vocabulary.types.push_back(static_cast<int32_t>(v.number));
  }
  for (Value& v : metadata["tokenizer.ggml.scores"].list) {
    vocabulary.scores.push_back(static_cast<float>(v.number));
  }
  vocabulary.bos = static_cast<TokenId>(number("bos_token_id", -1));
  vocabulary.eos = static_cast<TokenId>(number("eos_token_id", -1));
  vocabulary.unk = static_cast<TokenId>(number("unknown_token_id", -1));
  vocabulary.pad = static_cast<TokenId>(number("padding_token_id", -1));
  vocabulary.add_bos = number("add_bos_token", 0) != 0;
  vocabulary.add_eos = number("add_eos_token", 0) != 0;
  vocabulary.add_space_prefix = number("add_space_prefix", 1) != 0;
  return vocabulary;
}

}  // namespace weft::text
