#pragma once

#include <functional>
#include <memory>

#include "server/http_message.h"
#include "server/reply.h"
#include "server/server_context.h"

namespace weft::server {

using Handler = void (*)(ShardContext& shard, const HttpRequest& request,
                         std::shared_ptr<Reply> reply);

// generation_routes.cc
void Generate(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Complete(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Chat(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);

// adapter_routes.cc: SGLang's and vLLM's administration.
void LoadAdapter(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void UnloadAdapter(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void LoadAdapterV1(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void UnloadAdapterV1(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);

// control_routes.cc
void FlushCache(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void AbortRequest(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Health(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void HealthGenerate(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Ping(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Metrics(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Profile(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Trace(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);

// info_routes.cc
void ModelInfo(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void ServerInfo(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Version(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Models(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Model(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);

// token_routes.cc
void Tokenize(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);
void Detokenize(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply);

/// Runs `work` on the text pool and sends what it returns; 429 when the pool's queue is full.
void AnswerOnTextPool(ShardContext& shard, std::shared_ptr<Reply> reply, ApiStyle style,
                      std::function<HttpResponse()> work);

inline constexpr std::string_view kModelPathPrefix = "/v1/models/";

}  // namespace weft::server
