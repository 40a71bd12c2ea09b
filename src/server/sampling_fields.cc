#include "server/sampling_fields.h"

#include <charconv>
#include <limits>

namespace weft::server {
namespace {

constexpr float kGreedyBelow = 1e-6F;  // SGLang's and vLLM's: a smaller temperature is greedy.
constexpr float kHighestTemperature = 1e6F;
constexpr int32_t kMostTokens = std::numeric_limits<int32_t>::max();
constexpr std::string_view kNoGrammars =
    "asks for constrained output, which is not supported: leave it out";

void ReadLogitBias(JsonFields& fields, SamplingFields& into) {
  const boost::json::value* value = fields.Find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Fail("logit_bias", "must be an object of token id: bias");
  for (const auto& member : value->get_object()) {
    const std::string_view key = member.key();
    TokenId id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || id < 0)
      return fields.Fail("logit_bias",
                         fmt::format("has the key \"{}\": it must be a token id", key));
    if (!member.value().is_number())
      return fields.Fail("logit_bias", fmt::format("[{}] must be a number", key));
    const auto bias = member.value().to_number<double>();
    if (!(bias >= -100 && bias <= 100))
      return fields.Fail("logit_bias", fmt::format("[{}] must be in [-100, 100]", key));
    into.params.logit_bias.emplace_back(id, static_cast<float>(bias));
  }
}

void ReadSeed(JsonFields& fields, std::string_view name, SamplingFields& into) {
  if (fields.Find(name) == nullptr) return;
  int64_t seed = 0;
  fields.Read(name, seed);
  into.params.seed = static_cast<uint64_t>(seed);
  into.has_seed = true;
}

// What SGLang and OpenAI's bodies (with vLLM's extras) call alike.
void ReadShared(JsonFields& fields, SamplingFields& into) {
  ops::SamplingParams& params = into.params;
  fields.ReadWithin("temperature", 0, kHighestTemperature, params.temperature);
  if (params.temperature < kGreedyBelow) params.temperature = 0;
  fields.ReadWithin("top_p", 0, 1, params.top_p);
  if (params.top_p == 0) fields.Fail("top_p", "must be in (0, 1], it is 0");
  fields.ReadWithin("min_p", 0, 1, params.min_p);
  fields.ReadWithin("top_k", -1, kMostTokens, params.top_k);
  if (params.top_k == 0) params.top_k = -1;
  fields.ReadWithin("frequency_penalty", -2, 2, params.frequency_penalty);
  fields.ReadWithin("presence_penalty", -2, 2, params.presence_penalty);
  fields.Read("repetition_penalty", params.repetition_penalty);
  if (!(params.repetition_penalty > 0))
    fields.Fail("repetition_penalty",
                fmt::format("must be above 0, it is {}", params.repetition_penalty));
  fields.ReadStringOrList("stop", into.stop);
  if (into.stop.size() > kMaxStopStrings)
    fields.Fail("stop", fmt::format("has {} strings: at most {} are served", into.stop.size(),
                                    kMaxStopStrings));
  size_t stop_bytes = 0;
  for (const std::string& stop : into.stop) stop_bytes += stop.size();
  if (stop_bytes > kMaxStopBytes)
    fields.Fail("stop", fmt::format("has {} bytes in all: at most {} are served", stop_bytes,
                                    kMaxStopBytes));
  fields.Read("stop_token_ids", into.stop_token_ids);
  fields.Read("ignore_eos", into.ignore_eos);
  fields.Read("skip_special_tokens", into.skip_special_tokens);
  fields.Read("include_stop_str_in_output", into.include_stop);
  fields.Read("no_stop_trim", into.include_stop);
  fields.ReadWithin("n", 1, kMaxChoices, into.n);
  ReadSeed(fields, "seed", into);
  ReadLogitBias(fields, into);
  for (const char* grammar : {"json_schema", "regex", "ebnf", "structural_tag", "stop_regex"})
    fields.Refuse(grammar, kNoGrammars);
}

void CheckLengths(JsonFields& fields, std::string_view min_name, std::string_view max_name,
                  const SamplingFields& sampling) {
  if (sampling.max_new_tokens && sampling.min_new_tokens > *sampling.max_new_tokens) {
    fields.Fail(min_name, fmt::format("is {}: it must not be above {} ({})",
                                      sampling.min_new_tokens, max_name, *sampling.max_new_tokens));
  }
}

}  // namespace

SamplingFields ReadSglangSampling(JsonFields& fields) {
  SamplingFields sampling;
  ReadShared(fields, sampling);
  ReadSeed(fields, "sampling_seed", sampling);
  int32_t max_new_tokens = kSglangMaxNewTokens;
  fields.ReadWithin("max_new_tokens", 0, kMostTokens, max_new_tokens);
  sampling.max_new_tokens = max_new_tokens;
  fields.ReadWithin("min_new_tokens", 0, kMostTokens, sampling.min_new_tokens);
  CheckLengths(fields, "min_new_tokens", "max_new_tokens", sampling);
  return sampling;
}

SamplingFields ReadOpenAiSampling(JsonFields& fields, bool chat) {
  SamplingFields sampling;
  ReadShared(fields, sampling);
  if (!chat) sampling.max_new_tokens = kCompletionMaxTokens;
  const char* max_name = "max_tokens";
  if (chat && fields.Find("max_completion_tokens") != nullptr) max_name = "max_completion_tokens";
  if (fields.Find(max_name) != nullptr) {
    int32_t max_tokens = 0;
    fields.ReadWithin(max_name, chat ? 1 : 0, kMostTokens, max_tokens);
    sampling.max_new_tokens = max_tokens;
  }
  fields.ReadWithin("min_tokens", 0, kMostTokens, sampling.min_new_tokens);
  CheckLengths(fields, "min_tokens", max_name, sampling);

  int32_t best_of = sampling.n;
  fields.Read("best_of", best_of);
  if (best_of != sampling.n)
    fields.Fail("best_of", fmt::format("must equal n ({}), it is {}", sampling.n, best_of));
  for (const char* grammar :
       {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"})
    fields.Refuse(grammar, kNoGrammars);
  fields.Refuse("use_beam_search", "is not supported: leave it out");
  return sampling;
}

}  // namespace weft::server
