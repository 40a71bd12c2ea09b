#include "server/openai_logprobs.h"

#include <algorithm>
#include <cmath>

#include "server/json_writer.h"
#include "text/utf8.h"

namespace weft::server {
namespace {

/// The bytes of a token; a special token's are its name.
std::string_view BytesOf(const text::Tokenizer& tokenizer, TokenId id) {
  const std::string_view bytes = tokenizer.TokenBytes(id);
  return bytes.empty() ? tokenizer.TokenText(id) : bytes;
}

/// As OpenAI spells a token: its text, or "bytes:\xe2\x82" when it is a part of a character.
std::string Spelling(const text::Tokenizer& tokenizer, TokenId id) {
  const std::string_view bytes = BytesOf(tokenizer, id);
  if (!text::FindInvalidUtf8(bytes)) return std::string(bytes);
  std::string spelled = "bytes:";
  for (const char byte : bytes)
    spelled += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return spelled;
}

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

void AppendEntry(const text::Tokenizer& tokenizer, TokenId id, float logprob, JsonWriter& writer) {
  writer.Key("token").String(Spelling(tokenizer, id)).Key("logprob").Number(logprob);
  writer.Key("bytes").BeginArray();
  for (const char byte : BytesOf(tokenizer, id)) writer.Integer(static_cast<unsigned char>(byte));
  writer.EndArray();
}

}  // namespace

void CompletionLogprobs::Add(std::span<const ops::SampledToken> tokens) {
  for (const ops::SampledToken& token : tokens) {
    const char* const comma = tokens_.empty() ? "" : ",";
    for (std::string* list : {&tokens_, &logprobs_, &tops_, &offsets_}) *list += comma;
    const std::string spelling = Spelling(tokenizer_, token.token);
    AppendJsonString(spelling, tokens_);
    AppendJsonNumber(token.logprob, logprobs_);
    offsets_ += std::to_string(offset_);
    offset_ += CountCharacters(spelling);
    if (std::isnan(token.logprob)) {
      tops_ += "null";
      continue;
    }
    // The chosen token is always among the alternatives, as with OpenAI.
    JsonWriter writer(tops_);
    writer.BeginObject();
    bool chosen_listed = false;
    for (const auto& [id, logprob] : token.top) {
      writer.Key(Spelling(tokenizer_, id)).Number(logprob);
      chosen_listed = chosen_listed || id == token.token;
    }
    if (!chosen_listed) writer.Key(spelling).Number(token.logprob);
    writer.EndObject();
  }
}

std::string CompletionLogprobs::Json() const {
  std::string json;
  JsonWriter writer(json);
  writer.BeginObject().Key("text_offset").Raw("[" + offsets_ + "]");
  writer.Key("token_logprobs").Raw("[" + logprobs_ + "]");
  writer.Key("tokens").Raw("[" + tokens_ + "]");
  writer.Key("top_logprobs").Raw("[" + tops_ + "]").EndObject();
  return json;
}

std::string ChatLogprobsJson(const text::Tokenizer& tokenizer,
                             std::span<const ops::SampledToken> tokens) {
  std::string json;
  JsonWriter writer(json);
  writer.BeginObject().Key("content").BeginArray();
  for (const ops::SampledToken& token : tokens) {
    writer.BeginObject();
    AppendEntry(tokenizer, token.token, token.logprob, writer);
    writer.Key("top_logprobs").BeginArray();
    for (const auto& [id, logprob] : token.top) {
      writer.BeginObject();
      AppendEntry(tokenizer, id, logprob, writer);
      writer.EndObject();
    }
    writer.EndArray().EndObject();
  }
  writer.EndArray().EndObject();
  return json;
}

}  // namespace weft::server
