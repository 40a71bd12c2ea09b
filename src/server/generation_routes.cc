#include <utility>

#include "server/generate_format.h"
#include "server/generate_request.h"
#include "server/generation.h"
#include "server/json_reader.h"
#include "server/openai_format.h"
#include "server/openai_request.h"
#include "server/routes.h"
#include "server/wall_clock.h"

namespace weft::server {
namespace {

template <typename Format>
void AnswerOpenAi(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply,
                  ApiStatus (*parse)(const boost::json::object&, std::string_view,
                                     OpenAiRequest&)) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return reply->Send(ErrorResponse({body.error(), "", ""}, ApiStyle::kOpenAi));
  OpenAiRequest parsed;
  if (const auto error = parse(*body, shard.server.options.served_model_name, parsed))
    return reply->Send(ErrorResponse(*error, ApiStyle::kOpenAi));
  GenerationPlan plan;
  plan.stream = parsed.stream;
  plan.prompts = std::move(parsed.prompts);
  plan.format = std::make_unique<Format>(parsed, UnixSeconds(), shard.server.tokenizer);
  Generation::Start(shard, std::move(plan), std::move(reply));
}

}  // namespace

void Generate(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return reply->Send(ErrorResponse({body.error(), "", ""}, ApiStyle::kSglang));
  GenerateRequest parsed;
  if (const auto error = ParseGenerateRequest(*body, parsed))
    return reply->Send(ErrorResponse(*error, ApiStyle::kSglang));
  GenerationPlan plan;
  plan.stream = parsed.stream;
  plan.format = std::make_unique<GenerateFormat>(parsed, shard.server.tokenizer);
  plan.prompts = std::move(parsed.prompts);
  Generation::Start(shard, std::move(plan), std::move(reply));
}

void Complete(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AnswerOpenAi<CompletionFormat>(shard, request, std::move(reply), ParseCompletionRequest);
}

void Chat(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  AnswerOpenAi<ChatFormat>(shard, request, std::move(reply), ParseChatRequest);
}

}  // namespace weft::server
