#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "engine/service.h"
#include "server/event_router.h"
#include "server/metrics_text.h"
#include "server/poster.h"
#include "server/prompt.h"
#include "server/server_options.h"
#include "server/text_pool.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace weft::server {

/// What every route of every shard needs. Owned by the Server; all but the atomics immutable while
/// it serves.
struct ServerContext {
  ServerOptions options;
  engine::Service& service;
  engine::ServiceLimits limits;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatTemplate> chat_template;  ///< Null: none.
  const Clock& clock;
  TextPool* text_pool = nullptr;  ///< Set before the first request.
  MetricsText& metrics;
  int64_t started_unix = 0;
  std::atomic<bool> draining{false};  ///< New requests are refused.
  std::atomic<bool> stopping{false};  ///< And what has not reached the engine yet is dropped.

  PromptLimits prompt_limits() const { return {*tokenizer, chat_template.get(), limits}; }
};

/// One I/O shard's share: used on its thread only.
struct ShardContext {
  ServerContext& server;
  std::shared_ptr<Poster> poster;
  std::shared_ptr<EventRouter> events;
};

}  // namespace weft::server
