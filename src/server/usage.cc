#include "server/usage.h"

#include "server/json_writer.h"

namespace weft::server {

Usage CountUsage(const Choices& choices) {
  Usage usage;
  size_t prompts_seen = 0;
  for (const Choice& choice : choices) {
    usage.completion_tokens += static_cast<int64_t>(choice.output_ids().size());
    if (choice.prompt_index() < prompts_seen) continue;
    ++prompts_seen;
    usage.prompt_tokens += static_cast<int64_t>(choice.prompt().tokens.size());
    usage.cached_tokens += choice.cached_tokens();
  }
  return usage;
}

void AppendUsage(const Usage& usage, std::string& to) {
  JsonWriter writer(to);
  writer.BeginObject().Key("prompt_tokens").Integer(usage.prompt_tokens);
  writer.Key("total_tokens").Integer(usage.prompt_tokens + usage.completion_tokens);
  writer.Key("completion_tokens").Integer(usage.completion_tokens);
  writer.Key("prompt_tokens_details").BeginObject().Key("cached_tokens");
  writer.Integer(usage.cached_tokens).EndObject().EndObject();
}

}  // namespace weft::server
