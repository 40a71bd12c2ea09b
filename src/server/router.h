#pragma once

#include <memory>

#include "server/http_message.h"
#include "server/reply.h"
#include "server/server_context.h"

namespace weft::server {

/// Answers one request: finds its route, checks method and key, refuses new work while draining.
/// Called on the shard's thread; the answer may come later, on the same thread.
void Dispatch(ShardContext& shard, HttpRequest request, std::shared_ptr<Reply> reply);

}  // namespace weft::server
