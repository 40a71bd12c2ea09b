#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/generation.h"
#include "server/openai_request.h"

namespace weft::server {

class JsonWriter;

/// What both of OpenAI's text APIs answer alike: the head of each object, usage, errors.
class OpenAiFormat : public ReplyFormat {
 public:
  ApiStyle style() const override { return ApiStyle::kOpenAi; }
  std::string ChoiceId(size_t) const override { return id_; }
  void AppendEnd(const Choices& choices, std::string& frames) override;
  std::string Whole(const Choices& choices) override;

 protected:
  /// `object` and `chunk_object` are the names of a whole answer and of a part of a stream.
  OpenAiFormat(const OpenAiRequest& request, std::string_view object, std::string_view chunk_object,
               int64_t created, std::shared_ptr<const text::Tokenizer> tokenizer);

  /// One entry of a whole answer's "choices".
  virtual void AppendWholeChoice(const Choice& choice, std::string& to) const = 0;

  /// "data: {...,"choices":[{"index":N," - a chunk up to what is particular to its choice.
  void OpenChunk(const Choice& choice, std::string& frames) const;
  /// ","logprobs":...,"finish_reason":...}]...}\n\n" with empty `logprobs` as null. The finish is
  /// told when `finish` is not null.
  void CloseChunk(std::string_view logprobs, const ChoiceFinish* finish, std::string& frames) const;

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  const std::shared_ptr<const text::Tokenizer> tokenizer_;
  const std::string id_;
  const bool include_usage_;
  std::string whole_head_;  // {"id":...,"choices":[
  std::string chunk_head_;  // data: {"id":...,"choices":[
};

/// POST /v1/completions.
class CompletionFormat final : public OpenAiFormat {
 public:
  CompletionFormat(const OpenAiRequest& request, int64_t created,
                   std::shared_ptr<const text::Tokenizer> tokenizer);
  void AppendDelta(const Choice& choice, const ChoiceDelta& delta, std::string& frames) override;

 protected:
  void AppendWholeChoice(const Choice& choice, std::string& to) const override;

 private:
  std::string PromptText(const Choice& choice) const;

  const bool echo_;
  const bool logprobs_;
  struct Sent {
    bool begun = false;
    int64_t characters = 0;  // Of the tokens whose log-probabilities were sent.
  };
  std::vector<Sent> sent_;  // By choice.
};

/// POST /v1/chat/completions.
class ChatFormat final : public OpenAiFormat {
 public:
  ChatFormat(const OpenAiRequest& request, int64_t created,
             std::shared_ptr<const text::Tokenizer> tokenizer);
  void AppendDelta(const Choice& choice, const ChoiceDelta& delta, std::string& frames) override;

 protected:
  void AppendWholeChoice(const Choice& choice, std::string& to) const override;

 private:
  const bool logprobs_;
  std::vector<bool> begun_;  // By choice: its role was told.
};

/// ","finish_reason":..., "stop_reason" (vLLM's), "matched_stop" (SGLang's)", without braces.
void AppendFinishFields(const ChoiceFinish* finish, std::string& to);

}  // namespace weft::server
