#include <boost/json/object.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/generate_request.h"
#include "server/json_reader.h"
#include "server/openai_request.h"

namespace {

using weft::server::ApiStatus;
using weft::server::Prompt;

// What a parser promises of each prompt it lets through.
void CheckPrompts(const std::vector<Prompt>& prompts) {
  WEFT_CHECK(!prompts.empty());
  for (const Prompt& prompt : prompts) {
    const weft::server::SamplingFields& sampling = prompt.sampling;
    WEFT_CHECK(sampling.n >= 1 && sampling.n <= weft::server::kMaxChoices);
    WEFT_CHECK(sampling.n == prompts.front().sampling.n);
    WEFT_CHECK(sampling.params.temperature >= 0);
    WEFT_CHECK(sampling.params.top_p > 0 && sampling.params.top_p <= 1);
    WEFT_CHECK(sampling.params.repetition_penalty > 0);
    WEFT_CHECK(sampling.min_new_tokens >= 0);
    WEFT_CHECK(prompt.prompt_logprobs_from >= -1);
    WEFT_CHECK(!prompt.client_id.empty());
    weft::server::BuildRequest(prompt, 0);
  }
}

}  // namespace

/// The first byte chooses the API, the rest is the body.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto object = weft::server::ParseJsonObject(body);
  if (!object) return 0;
  weft::server::JsonText(*object);
  if (data[0] % 3 == 0) {
    weft::server::GenerateRequest request;
    const ApiStatus error = weft::server::ParseGenerateRequest(*object, request);
    if (!error) CheckPrompts(request.prompts);
    if (!error) WEFT_CHECK(request.rids.size() == request.prompts.size());
    return 0;
  }
  weft::server::OpenAiRequest request;
  const ApiStatus error = data[0] % 3 == 1
                              ? weft::server::ParseCompletionRequest(*object, "base", request)
                              : weft::server::ParseChatRequest(*object, "base", request);
  if (!error) CheckPrompts(request.prompts);
  return 0;
}
