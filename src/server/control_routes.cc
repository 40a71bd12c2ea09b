#include <utility>

#include "server/api_error.h"
#include "server/json_reader.h"
#include "server/routes.h"

namespace weft::server {
namespace {

constexpr std::string_view kPlainText = "text/plain; charset=utf-8";
constexpr std::chrono::milliseconds kHealthTimeout{20'000};  // SGLang's.

HttpResponse Empty(int status) {
  HttpResponse response;
  response.status = status;
  response.content_type.clear();
  return response;
}

/// Asks the engine for one token and tells whether anything came back.
class HealthProbe final : public EventListener {
 public:
  explicit HealthProbe(std::shared_ptr<Reply> reply) : reply_(std::move(reply)) {}

  void OnEvent(engine::RequestEvent& event, size_t) override {
    const auto& finish = event.finish;
    const bool failed = finish && finish->type == engine::FinishType::kError &&
                        // A full queue is a busy engine, not a broken one.
                        finish->error.code != ErrorCode::kResourceExhausted;
    Answer(failed ? 503 : 200);
  }

  void Answer(int status) {
    if (const auto reply = std::exchange(reply_, nullptr)) reply->Send(Empty(status));
  }

 private:
  std::shared_ptr<Reply> reply_;
};

}  // namespace

void FlushCache(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  shard.server.service.FlushPrefixCache(
      [poster = shard.poster, reply = std::move(reply)](const Status& status) {
        HttpResponse response;
        if (status.ok()) {
          response.content_type = kPlainText;
          response.body = "Cache flushed.\n";
        } else {
          response = ErrorResponse({status.error(), "", ""}, ApiStyle::kSglang);
        }
        poster->Post([reply, response = std::move(response)] { reply->Send(response); });
      });
}

void AbortRequest(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  const auto body = ParseJsonObject(request.body);
  if (!body) return reply->Send(ErrorResponse({body.error(), "", ""}, ApiStyle::kSglang));
  std::string rid;
  bool abort_all = false;
  JsonFields fields(*body);
  fields.Read("rid", rid);
  fields.Read("abort_all", abort_all);
  if (!fields.ok()) return reply->Send(ErrorResponse(*fields.error(), ApiStyle::kSglang));
  if (abort_all) {
    shard.server.service.AbortByClientId("");
  } else if (!rid.empty()) {  // As SGLang: an empty rid aborts nothing.
    shard.server.service.AbortByClientId(rid);
  }
  reply->Send(Empty(200));
}

void Health(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  reply->Send(Empty(shard.server.draining.load(std::memory_order_relaxed) ? 503 : 200));
}

void HealthGenerate(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  engine::GenerationRequest request;
  request.client_id = "HEALTH_CHECK";
  request.prompt = {std::max<TokenId>(shard.server.tokenizer->bos(), 0)};
  request.sampling.temperature = 0;
  request.max_new_tokens = 1;
  const auto probe = std::make_shared<HealthProbe>(reply);
  const auto events = shard.events;
  const RequestId id = events->Submit(std::move(request), probe, 0);
  reply->OnHangUp([events, id] { events->Abort(id); });
  shard.poster->PostAfter(kHealthTimeout, [events, id, weak = std::weak_ptr(probe)] {
    const auto alive = weak.lock();
    if (!alive) return;
    alive->Answer(503);
    events->Abort(id);
  });
}

void Ping(ShardContext&, const HttpRequest&, std::shared_ptr<Reply> reply) {
  reply->Send(Empty(200));
}

void Metrics(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = shard.server.metrics.Serialize(shard.server.service.Stats());
  reply->Send(std::move(response));
}

void Profile(ShardContext& shard, const HttpRequest& request, std::shared_ptr<Reply> reply) {
  const bool json = request.accept.find("application/json") != std::string::npos;
  HttpResponse response;
  if (!json) response.content_type = kPlainText;
  response.body = shard.server.service.Profile(json ? engine::Service::ProfileForm::kJson
                                                    : engine::Service::ProfileForm::kText);
  if (response.body.empty())
    response = ErrorResponse(404, "profiling is off: start the server with --profile (on CPUs)",
                             ApiStyle::kSglang);
  reply->Send(std::move(response));
}

void Trace(ShardContext& shard, const HttpRequest&, std::shared_ptr<Reply> reply) {
  HttpResponse response;
  response.body = shard.server.service.TraceJson();
  if (response.body.empty())
    response =
        ErrorResponse(404, "tracing is off: start the server with --trace", ApiStyle::kSglang);
  reply->Send(std::move(response));
}

void AnswerOnTextPool(ShardContext& shard, std::shared_ptr<Reply> reply, ApiStyle style,
                      std::function<HttpResponse()> work) {
  const bool queued = shard.server.text_pool->TrySubmit(
      [poster = shard.poster, reply, work = std::move(work)]() mutable {
        HttpResponse response = work();
        poster->Post([reply = std::move(reply), response = std::move(response)]() mutable {
          reply->Send(std::move(response));
        });
      });
  if (!queued) {
    reply->Send(ErrorResponse({Error{ErrorCode::kResourceExhausted,
                                     "too many prompts are waiting to be tokenized: try later"},
                               "", ""},
                              style));
  }
}

}  // namespace weft::server
