#include "text/json_components.h"

#include "text/byte_level.h"
#include "text/json_value.h"

namespace weft::text {
namespace {

using simdjson::dom::element;

Error UnknownType(std::string_view component, std::string_view type) {
  return MakeError(ErrorCode::kUnsupported, "tokenizer.json: {} of type \"{}\" is not supported",
                   component, type);
}

Error Malformed(std::string_view where) {
  return MakeError(ErrorCode::kInvalidArgument, "tokenizer.json: {} is malformed", where);
}

Result<simdjson::dom::array> ReadList(element object, std::string_view name) {
  bool found = false;
  const element value = JsonMember(object, name, found);
  simdjson::dom::array list;
  if (!found || value.get(list) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument, "tokenizer.json: \"{}\" should be a list", name);
  }
  return list;
}

// {"String": "..."} or {"Regex": "..."}.
Result<Regex> ReadPattern(element object) {
  bool found = false;
  const element pattern = JsonMember(object, "pattern", found);
  if (!found) return Malformed("a \"pattern\"");
  const element text = JsonMember(pattern, "String", found);
  std::string_view string;
  if (found && text.get(string) == simdjson::SUCCESS) return Regex::Literal(string);
  const element regex = JsonMember(pattern, "Regex", found);
  if (found && regex.get(string) == simdjson::SUCCESS) return Regex::Compile(string);
  return Malformed("a \"pattern\"");
}

Status AppendNormalizer(element value, int depth, std::vector<NormalizerStep>& steps);
Status AppendPreTokenizer(element value, int depth, std::vector<PreTokenizerStep>& steps);

constexpr int kDeepest = 16;  // Sequences inside sequences.

template <typename Step>
Status AppendAll(element value, std::string_view name, int depth, std::vector<Step>& steps,
                 Status (*append)(element, int, std::vector<Step>&)) {
  if (depth >= kDeepest) return Malformed("a Sequence (nested too deeply)");
  WEFT_ASSIGN_OR_RETURN(const simdjson::dom::array list, ReadList(value, name));
  for (const element item : list) WEFT_RETURN_IF_ERROR(append(item, depth + 1, steps));
  return OkStatus();
}

Status AppendNormalizer(element value, int depth, std::vector<NormalizerStep>& steps) {
  const std::string_view type = JsonString(value, "type");
  if (type == "Sequence") {
    return AppendAll<NormalizerStep>(value, "normalizers", depth, steps, AppendNormalizer);
  }
  if (type == "NFC") {
    steps.emplace_back(UnicodeForm::kNfc);
  } else if (type == "NFD") {
    steps.emplace_back(UnicodeForm::kNfd);
  } else if (type == "NFKC") {
    steps.emplace_back(UnicodeForm::kNfkc);
  } else if (type == "NFKD") {
    steps.emplace_back(UnicodeForm::kNfkd);
  } else if (type == "Lowercase") {
    steps.emplace_back(LowercaseText{});
  } else if (type == "Prepend") {
    steps.emplace_back(PrependText{std::string(JsonString(value, "prepend"))});
  } else if (type == "Replace") {
    WEFT_ASSIGN_OR_RETURN(Regex pattern, ReadPattern(value));
    steps.emplace_back(ReplaceText{std::move(pattern), std::string(JsonString(value, "content"))});
  } else {
    return UnknownType("a normalizer", type);
  }
  return OkStatus();
}

Result<SplitBehavior> ReadBehavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return MakeError(ErrorCode::kUnsupported,
                   "tokenizer.json: a Split of behavior \"{}\" is not supported", name);
}

Status AppendByteLevelSteps(element value, std::vector<PreTokenizerStep>& steps) {
  if (JsonBool(value, "add_prefix_space", true)) {
    steps.emplace_back(MarkSpaces{" ", PrependScheme::kAlways});
  }
  if (JsonBool(value, "use_regex", true)) {
    WEFT_ASSIGN_OR_RETURN(Regex pattern, Regex::Compile(kGpt2Pattern));
    steps.emplace_back(SplitText{std::move(pattern)});
  }
  steps.emplace_back(SpellBytes{});
  return OkStatus();
}

// A Metaspace's prepend_scheme, or an older file's add_prefix_space.
Result<PrependScheme> ReadPrependScheme(element value) {
  const std::string_view name = JsonString(value, "prepend_scheme");
  if (name == "never" || !JsonBool(value, "add_prefix_space", true)) return PrependScheme::kNever;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "always" || name.empty()) return PrependScheme::kAlways;
  return MakeError(ErrorCode::kUnsupported,
                   "tokenizer.json: a Metaspace with prepend_scheme \"{}\" is not supported", name);
}

Status AppendMetaspace(element value, std::vector<PreTokenizerStep>& steps) {
  const std::string_view replacement = JsonString(value, "replacement");
  if (replacement.empty()) return Malformed("the \"replacement\" of a Metaspace");
  WEFT_ASSIGN_OR_RETURN(const PrependScheme scheme, ReadPrependScheme(value));
  steps.emplace_back(MarkSpaces{std::string(replacement), scheme});
  if (JsonBool(value, "split", true)) {
    WEFT_ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(replacement));
    steps.emplace_back(SplitText{std::move(pattern), SplitBehavior::kMergedWithNext});
  }
  return OkStatus();
}

Status AppendPreTokenizer(element value, int depth, std::vector<PreTokenizerStep>& steps) {
  const std::string_view type = JsonString(value, "type");
  if (type == "Sequence") {
    return AppendAll<PreTokenizerStep>(value, "pretokenizers", depth, steps, AppendPreTokenizer);
  }
  if (type == "ByteLevel") return AppendByteLevelSteps(value, steps);
  if (type == "Metaspace") return AppendMetaspace(value, steps);
  if (type == "Split") {
    WEFT_ASSIGN_OR_RETURN(Regex pattern, ReadPattern(value));
    WEFT_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                          ReadBehavior(JsonString(value, "behavior")));
    steps.emplace_back(SplitText{std::move(pattern), behavior, JsonBool(value, "invert", false)});
    return OkStatus();
  }
  if (type == "Digits") {
    const bool individual = JsonBool(value, "individual_digits", false);
    WEFT_ASSIGN_OR_RETURN(Regex pattern, Regex::Compile(R"(\p{N})"));
    steps.emplace_back(SplitText{
        std::move(pattern), individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
    return OkStatus();
  }
  return UnknownType("a pre_tokenizer", type);
}

// The ids of one special token of a TemplateProcessing.
Status AppendTemplateToken(element processor, std::string_view name, std::vector<TokenId>& to) {
  bool found = false;
  const element tokens = JsonMember(processor, "special_tokens", found);
  const element token = found ? JsonMember(tokens, name, found) : tokens;
  if (!found) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "tokenizer.json: the post_processor's \"special_tokens\" lack \"{}\"", name);
  }
  WEFT_ASSIGN_OR_RETURN(const simdjson::dom::array ids, ReadList(token, "ids"));
  for (const element id : ids) {
    int64_t number = -1;
    if (id.get(number) != simdjson::SUCCESS || number < 0 || number > kLargestTokenId) {
      return Malformed("an id of the post_processor");
    }
    to.push_back(static_cast<TokenId>(number));
  }
  return OkStatus();
}

Result<Surround> ReadTemplate(element processor) {
  Surround surround;
  bool before = true;
  WEFT_ASSIGN_OR_RETURN(const simdjson::dom::array single, ReadList(processor, "single"));
  for (const element piece : single) {
    bool found = false;
    (void)JsonMember(piece, "Sequence", found);
    if (found) {
      if (!before) return Malformed("the post_processor (it repeats the text)");
      before = false;
      continue;
    }
    const element special = JsonMember(piece, "SpecialToken", found);
    if (!found) return Malformed("the post_processor's \"single\"");
    WEFT_RETURN_IF_ERROR(AppendTemplateToken(processor, JsonString(special, "id"),
                                             before ? surround.prefix : surround.suffix));
  }
  if (before) return Malformed("the post_processor (it leaves out the text)");
  return surround;
}

Status AppendPostProcessor(element value, int depth, Surround& to) {
  const std::string_view type = JsonString(value, "type");
  if (type == "ByteLevel") return OkStatus();  // Only offsets, which nobody asks for.
  if (type == "Sequence") {
    if (depth >= kDeepest) return Malformed("a Sequence (nested too deeply)");
    WEFT_ASSIGN_OR_RETURN(const simdjson::dom::array list, ReadList(value, "processors"));
    for (const element item : list) WEFT_RETURN_IF_ERROR(AppendPostProcessor(item, depth + 1, to));
    return OkStatus();
  }
  if (type != "TemplateProcessing") return UnknownType("a post_processor", type);
  WEFT_ASSIGN_OR_RETURN(Surround outer, ReadTemplate(value));
  to.prefix.insert(to.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
  to.suffix.insert(to.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  return OkStatus();
}

Status AddDecoder(element value, int depth, DecoderPlan& plan) {
  const std::string_view type = JsonString(value, "type");
  if (type == "Sequence") {
    if (depth >= kDeepest) return Malformed("a Sequence (nested too deeply)");
    WEFT_ASSIGN_OR_RETURN(const simdjson::dom::array list, ReadList(value, "decoders"));
    for (const element item : list) WEFT_RETURN_IF_ERROR(AddDecoder(item, depth + 1, plan));
    return OkStatus();
  }
  if (type == "Fuse") return OkStatus();  // Tokens' bytes are always joined.
  if (type == "ByteLevel") {
    plan.byte_level = true;
  } else if (type == "ByteFallback") {
    plan.byte_fallback = true;
  } else if (type == "Metaspace") {
    WEFT_ASSIGN_OR_RETURN(const PrependScheme scheme, ReadPrependScheme(value));
    plan.space = std::string(JsonString(value, "replacement"));
    if (scheme != PrependScheme::kNever) plan.style = DecodeStyle::kDropFirstSpaces;
  } else if (type == "Replace") {
    bool found = false;
    const element pattern = JsonMember(value, "pattern", found);
    plan.space = found ? std::string(JsonString(pattern, "String")) : "";
    if (plan.space.empty() || JsonString(value, "content") != " ") {
      return MakeError(ErrorCode::kUnsupported,
                       "tokenizer.json: a decoder that replaces anything by \"{}\" is not "
                       "supported, only a string by a space",
                       JsonString(value, "content"));
    }
  } else if (type == "Strip") {
    const int64_t start = JsonInteger(value, "start", 0);
    const int64_t stop = JsonInteger(value, "stop", 0);
    if (JsonString(value, "content") != " " || start != 1 || stop != 0) {
      return MakeError(ErrorCode::kUnsupported,
                       "tokenizer.json: a Strip decoder is supported for one space at the start, "
                       "not for \"{}\" {} at the start and {} at the end",
                       JsonString(value, "content"), start, stop);
    }
    plan.style = DecodeStyle::kDropSpace;
  } else {
    return UnknownType("a decoder", type);
  }
  return OkStatus();
}

// "<0xE2>" -> 0xE2.
std::optional<char> ByteOfToken(std::string_view token) {
  constexpr std::string_view kDigits = "0123456789ABCDEFabcdef";
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    byte = byte * 16 + static_cast<int>(digit < 16 ? digit : digit - 6);
  }
  return static_cast<char>(byte);
}

}  // namespace

Result<std::vector<NormalizerStep>> ReadNormalizer(element root) {
  std::vector<NormalizerStep> steps;
  bool found = false;
  const element value = JsonMember(root, "normalizer", found);
  if (found) WEFT_RETURN_IF_ERROR(AppendNormalizer(value, 0, steps));
  return steps;
}

Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(element root) {
  std::vector<PreTokenizerStep> steps;
  bool found = false;
  const element value = JsonMember(root, "pre_tokenizer", found);
  if (found) WEFT_RETURN_IF_ERROR(AppendPreTokenizer(value, 0, steps));
  return steps;
}

Result<Surround> ReadPostProcessor(element root) {
  Surround surround;
  bool found = false;
  const element value = JsonMember(root, "post_processor", found);
  if (found) WEFT_RETURN_IF_ERROR(AppendPostProcessor(value, 0, surround));
  return surround;
}

Result<DecoderPlan> ReadDecoder(element root) {
  DecoderPlan plan;
  bool found = false;
  const element value = JsonMember(root, "decoder", found);
  if (!found) {
    return MakeError(ErrorCode::kUnsupported,
                     "tokenizer.json: a file without \"decoder\" is not supported");
  }
  WEFT_RETURN_IF_ERROR(AddDecoder(value, 0, plan));
  return plan;
}

std::string TokenToBytes(const DecoderPlan& plan, std::string_view token) {
  if (plan.byte_fallback) {
    if (const std::optional<char> byte = ByteOfToken(token)) return {*byte};
  }
  std::string text(token);
  for (size_t at = 0; !plan.space.empty() && (at = text.find(plan.space, at)) != text.npos; ++at) {
    text.replace(at, plan.space.size(), " ");
  }
  if (!plan.byte_level) return text;
  return FromByteLevel(text).value_or(text);
}

}  // namespace weft::text
