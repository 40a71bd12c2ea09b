#include "text/sentencepiece_model.h"

#include <bit>
#include <cstring>

namespace weft::text {
namespace {

Error Malformed(std::string_view what) {
  return MakeError(ErrorCode::kInvalidArgument,
                   "tokenizer.model: {}; this is not a sentencepiece model", what);
}

// One field of a protocol buffer message: a number, or bytes.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

// Reads the fields of a message in order.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  bool done() const { return bytes_.empty(); }

  Result<Field> Next() {
    WEFT_ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0: {
        WEFT_ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1:
        return Fixed(field, 8);
      case 2: {
        WEFT_ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > bytes_.size()) return Malformed("a field is longer than the file");
        field.bytes = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return field;
      }
      case 5:
        return Fixed(field, 4);
      default:
        return Malformed("a field of unknown kind");
    }
  }

 private:
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) return Malformed("a number is cut short");
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return Malformed("a number is too long");
  }

  Result<Field> Fixed(Field field, size_t size) {
    if (bytes_.size() < size) return Malformed("a number is cut short");
    std::memcpy(&field.value, bytes_.data(), size);
    bytes_.remove_prefix(size);
    return field;
  }

  std::string_view bytes_;
};

// SentencePiece: piece = 1, score = 2, type = 3.
Status ReadPiece(std::string_view bytes, GgufVocabulary& to) {
  std::string_view piece;
  float score = 0;
  int32_t type = 1;
  for (Message message(bytes); !message.done();) {
    WEFT_ASSIGN_OR_RETURN(const Field field, message.Next());
    if (field.number == 1) piece = field.bytes;
    if (field.number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) type = static_cast<int32_t>(field.value);
  }
  to.tokens.emplace_back(piece);
  to.scores.push_back(score);
  to.types.push_back(type);
  return OkStatus();
}

// TrainerSpec: model_type = 3 (2 is BPE), unk_id = 40, bos_id = 41, eos_id = 42, pad_id = 43.
Status ReadTrainer(std::string_view bytes, GgufVocabulary& to) {
  constexpr uint64_t kBpe = 2;
  uint64_t model_type = 1;
  for (Message message(bytes); !message.done();) {
    WEFT_ASSIGN_OR_RETURN(const Field field, message.Next());
    const auto id = static_cast<TokenId>(field.value);
    if (field.number == 3) model_type = field.value;
    if (field.number == 40) to.unk = id;
    if (field.number == 41) to.bos = id;
    if (field.number == 42) to.eos = id;
    if (field.number == 43) to.pad = id;
  }
  if (model_type == kBpe) return OkStatus();
  return MakeError(ErrorCode::kUnsupported,
                   "tokenizer.model: a sentencepiece model of type {} is not supported, only BPE "
                   "(2); put the model's tokenizer.json beside it",
                   model_type);
}

// NormalizerSpec: precompiled_charsmap = 2, add_dummy_prefix = 3, remove_extra_whitespaces = 4,
// escape_whitespaces = 5.
Status ReadNormalizer(std::string_view bytes, GgufVocabulary& to) {
  bool rewrites = false;
  bool removes_spaces = true;
  bool escapes_spaces = true;
  for (Message message(bytes); !message.done();) {
    WEFT_ASSIGN_OR_RETURN(const Field field, message.Next());
    if (field.number == 2) rewrites = !field.bytes.empty();
    if (field.number == 3) to.add_space_prefix = field.value != 0;
    if (field.number == 4) removes_spaces = field.value != 0;
    if (field.number == 5) escapes_spaces = field.value != 0;
  }
  if (!rewrites && !removes_spaces && escapes_spaces) return OkStatus();
  return MakeError(ErrorCode::kUnsupported,
                   "tokenizer.model: a sentencepiece model that normalizes text is not supported; "
                   "put the model's tokenizer.json beside it");
}

}  // namespace

Result<GgufVocabulary> ReadSentencePieceModel(std::string_view bytes) {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.unk = 0;  // What the format says where a file says nothing.
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  bool has_trainer = false;
  bool has_normalizer = false;
  for (Message message(bytes); !message.done();) {
    WEFT_ASSIGN_OR_RETURN(const Field field, message.Next());
    if (field.number == 1) WEFT_RETURN_IF_ERROR(ReadPiece(field.bytes, vocabulary));
    if (field.number == 2) {
      WEFT_RETURN_IF_ERROR(ReadTrainer(field.bytes, vocabulary));
      has_trainer = true;
    }
    if (field.number == 3) {
      WEFT_RETURN_IF_ERROR(ReadNormalizer(field.bytes, vocabulary));
      has_normalizer = true;
    }
  }
  if (!has_trainer || !has_normalizer || vocabulary.tokens.empty()) {
    return Malformed("the pieces or the trainer's and normalizer's settings are missing");
  }
  return vocabulary;
}

}  // namespace weft::text
