#include <simdjson.h>

#include "text/bpe.h"
#include "text/json_components.h"
#include "text/json_value.h"
#include "text/tokenizer_parts.h"

namespace weft::text {
namespace {

using simdjson::dom::element;

template <typename... Args>
Error Bad(fmt::format_string<Args...> format, Args&&... args) {
  return MakeError(ErrorCode::kInvalidArgument, "tokenizer.json: {}",
                   fmt::format(format, std::forward<Args>(args)...));
}

Status RefuseUnknownModel(element model) {
  const std::string_view type = JsonString(model, "type");
  if (type != "BPE" && !type.empty()) {
    return MakeError(ErrorCode::kUnsupported,
                     "tokenizer.json: a model of type \"{}\" is not supported, only \"BPE\"", type);
  }
  for (const std::string_view name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (JsonString(model, name).empty()) continue;
    return MakeError(ErrorCode::kUnsupported,
                     "tokenizer.json: a model with \"{}\" is not supported", name);
  }
  bool found = false;
  const element dropout = JsonMember(model, "dropout", found);
  double probability = 0;
  if (found && dropout.get(probability) == simdjson::SUCCESS && probability == 0) found = false;
  if (!found) return OkStatus();
  return MakeError(ErrorCode::kUnsupported,
                   "tokenizer.json: a model with \"dropout\" is not supported");
}

Status ReadVocabulary(element model, Vocabulary& vocabulary) {
  bool found = false;
  const element value = JsonMember(model, "vocab", found);
  simdjson::dom::object tokens;
  if (!found || value.get(tokens) != simdjson::SUCCESS) {
    return Bad("the model's \"vocab\" should be an object from tokens to ids");
  }
  for (const auto& [text, id] : tokens) {
    int64_t number = -1;
    if (id.get(number) != simdjson::SUCCESS || number < 0 || number > kLargestTokenId) {
      return Bad("the id of token \"{}\" should be an integer within 0..{}", text, kLargestTokenId);
    }
    WEFT_RETURN_IF_ERROR(vocabulary.Add(text, static_cast<TokenId>(number)));
  }
  return OkStatus();
}

// Merges are "left right", or since 2024 ["left", "right"].
Result<BpeModel::Merges> ReadMerges(element model) {
  bool found = false;
  const element value = JsonMember(model, "merges", found);
  simdjson::dom::array list;
  if (!found || value.get(list) != simdjson::SUCCESS) {
    return Bad("the model's \"merges\" should be a list");
  }
  BpeModel::Merges merges;
  for (const element item : list) {
    std::string_view text;
    simdjson::dom::array pair;
    if (item.get(text) == simdjson::SUCCESS) {
      if (text.starts_with("#version")) continue;  // The first line of an old merges.txt.
      const size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        return Bad("merge {} should be two tokens and a space, but is \"{}\"", merges.size(), text);
      }
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
      continue;
    }
    std::string_view left;
    std::string_view right;
    if (item.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
        pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS) {
      return Bad("merge {} should be a pair of tokens", merges.size());
    }
    merges.emplace_back(left, right);
  }
  return merges;
}

Result<std::vector<AddedToken>> ReadAddedTokens(element root, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  bool found = false;
  const element value = JsonMember(root, "added_tokens", found);
  if (!found) return tokens;
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS) return Bad("\"added_tokens\" should be a list");
  for (const element item : list) {
    AddedToken token;
    token.content = std::string(JsonString(item, "content"));
    const int64_t id = JsonInteger(item, "id", -1);
    if (id < 0 || id > kLargestTokenId) {
      return Bad("the added token \"{}\" should have an id within 0..{}", token.content,
                 kLargestTokenId);
    }
    // A token that the model has as well keeps the model's id.
    token.id = vocabulary.FindInModel(token.content).value_or(static_cast<TokenId>(id));
    token.single_word = JsonBool(item, "single_word", false);
    token.lstrip = JsonBool(item, "lstrip", false);
    token.rstrip = JsonBool(item, "rstrip", false);
    token.special = JsonBool(item, "special", false);
    token.normalized = JsonBool(item, "normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

Status ReadModel(element root, TokenizerParts& parts) {
  bool found = false;
  const element model = JsonMember(root, "model", found);
  if (!found) return Bad("\"model\" is missing");
  WEFT_RETURN_IF_ERROR(RefuseUnknownModel(model));
  WEFT_RETURN_IF_ERROR(ReadVocabulary(model, parts.vocabulary));
  WEFT_ASSIGN_OR_RETURN(const BpeModel::Merges merges, ReadMerges(model));
  BpeOptions options;
  options.fuse_unk = JsonBool(model, "fuse_unk", false);
  options.byte_fallback = JsonBool(model, "byte_fallback", false);
  options.ignore_merges = JsonBool(model, "ignore_merges", false);
  const std::string_view unk = JsonString(model, "unk_token");
  options.unk = unk.empty() ? -1 : parts.vocabulary.FindInModel(unk).value_or(-1);
  if (!unk.empty() && options.unk < 0) {
    return Bad("the unk_token \"{}\" is not in the vocabulary", unk);
  }
  WEFT_ASSIGN_OR_RETURN(parts.model, BpeModel::Create(parts.vocabulary, merges, options));
  return OkStatus();
}

// A special token of tokenizer_config.json: a string, or an object with "content".
TokenId FindSpecial(element config, std::string_view name, const Vocabulary& vocabulary) {
  std::string_view text = JsonString(config, name);
  bool found = false;
  const element value = JsonMember(config, name, found);
  if (found && value.is_object()) text = JsonString(value, "content");
  return text.empty() ? -1 : vocabulary.Find(text).value_or(-1);
}

Status ReadConfig(std::string_view json, TokenizerParts& parts) {
  if (json.empty()) return OkStatus();
  simdjson::dom::parser parser;
  element config;
  const auto error = parser.parse(simdjson::padded_string(json)).get(config);
  if (error != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "tokenizer_config.json: {}",
                     simdjson::error_message(error));
  }
  parts.bos = FindSpecial(config, "bos_token", parts.vocabulary);
  parts.eos = FindSpecial(config, "eos_token", parts.vocabulary);
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<const TokenizerParts>> ReadTokenizerJson(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  simdjson::dom::parser parser;
  element root;
  const auto error = parser.parse(simdjson::padded_string(tokenizer_json)).get(root);
  if (error != simdjson::SUCCESS) return Bad("{}", simdjson::error_message(error));
  if (!root.is_object()) return Bad("should be an object");

  auto parts = std::make_unique<TokenizerParts>();
  WEFT_ASSIGN_OR_RETURN(auto normalizer, ReadNormalizer(root));
  parts->normalizer = Normalizer(std::move(normalizer));
  WEFT_ASSIGN_OR_RETURN(auto pre_tokenizer, ReadPreTokenizer(root));
  parts->pre_tokenizer = PreTokenizer(std::move(pre_tokenizer));
  WEFT_RETURN_IF_ERROR(ReadModel(root, *parts));
  WEFT_ASSIGN_OR_RETURN(const auto added_tokens, ReadAddedTokens(root, parts->vocabulary));
  WEFT_RETURN_IF_ERROR(parts->SetAddedTokens(added_tokens));
  WEFT_ASSIGN_OR_RETURN(Surround surround, ReadPostProcessor(root));
  parts->prefix = std::move(surround.prefix);
  parts->suffix = std::move(surround.suffix);
  WEFT_ASSIGN_OR_RETURN(const DecoderPlan decoder, ReadDecoder(root));
  parts->decode_style = decoder.style;
  Vocabulary& vocabulary = parts->vocabulary;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    vocabulary.SetBytes(id, TokenToBytes(decoder, vocabulary.Text(id)));
  }
  WEFT_RETURN_IF_ERROR(ReadConfig(tokenizer_config_json, *parts));
  return std::unique_ptr<const TokenizerParts>(std::move(parts));
}

}  // namespace weft::text
