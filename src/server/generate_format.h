#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/generate_request.h"
#include "server/generation.h"

namespace weft::server {

/// SGLang's native answers: {"text", "output_ids", "meta_info"}, cumulative when streamed.
class GenerateFormat final : public ReplyFormat {
 public:
  GenerateFormat(const GenerateRequest& request, std::shared_ptr<const text::Tokenizer> tokenizer);

  ApiStyle style() const override { return ApiStyle::kSglang; }
  bool cumulative() const override { return true; }
  std::string ChoiceId(size_t index) const override;
  void AppendDelta(const Choice& choice, const ChoiceDelta& delta, std::string& frames) override;
  void AppendEnd(const Choices&, std::string&) override {}
  std::string Whole(const Choices& choices) override;

 private:
  void AppendOutput(const Choice& choice, bool with_index, std::string& to) const;
  void AppendLogprobs(const Choice& choice, class JsonWriter& writer) const;

  const std::shared_ptr<const text::Tokenizer> tokenizer_;
  const std::vector<std::string> rids_;
  const size_t choices_per_prompt_;
  const bool as_list_;
  const bool text_in_logprobs_;
};

}  // namespace weft::server
