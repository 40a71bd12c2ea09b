#include "server/server.h"

#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/connection_count.h"
#include "server/listener.h"
#include "server/server_context.h"
#include "server/shard.h"
#include "server/wall_clock.h"

namespace weft::server {
namespace {

/// For clients to read the last event of an aborted stream, then for connections to close.
constexpr std::chrono::milliseconds kLastEventTime{3000};
constexpr std::chrono::milliseconds kCloseTime{1000};

Status Check(const ServerOptions& options) {
  const auto at_least_one = [](int value, const char* flag) -> Status {
    if (value >= 1) return OkStatus();
    return MakeError(ErrorCode::kInvalidArgument, "{} is {}: it must be at least 1", flag, value);
  };
  if (options.served_model_name.empty())
    return Error{ErrorCode::kInvalidArgument, "--served-model-name must not be empty"};
  WEFT_RETURN_IF_ERROR(at_least_one(options.io_threads, "the number of I/O threads"));
  WEFT_RETURN_IF_ERROR(at_least_one(options.text_threads, "the number of text threads"));
  WEFT_RETURN_IF_ERROR(at_least_one(options.text_queue_limit, "the text queue's limit"));
  WEFT_RETURN_IF_ERROR(at_least_one(options.max_connections, "the connection limit"));
  if (options.max_body_size < 1)
    return Error{ErrorCode::kInvalidArgument, "--max-body-size must be above 0"};
  return OkStatus();
}

}  // namespace

/// Declared in the order in which each needs the ones before; Stop ends them in reverse.
class Server::Parts {
 public:
  Parts(ServerOptions options, BoundPort port, engine::Service& service,
        engine::ServiceLimits limits, std::shared_ptr<const text::Tokenizer> tokenizer,
        std::shared_ptr<const text::ChatTemplate> chat_template)
      : port_(std::move(port)),
        metrics_(options.served_model_name, clock_),
        connections_(options.max_connections),
        context_{std::move(options),
                 service,
                 limits,
                 std::move(tokenizer),
                 std::move(chat_template),
                 clock_,
                 nullptr,
                 metrics_,
                 UnixSeconds()} {
    for (int i = 0; i < context_.options.io_threads; ++i)
      shards_.push_back(std::make_unique<Shard>(context_, connections_));
    listener_ = std::make_unique<Listener>(shards_, connections_);
  }
  ~Parts() { Stop(std::chrono::milliseconds(0)); }

  Status Start() {
    WEFT_RETURN_IF_ERROR(listener_->Open(std::move(port_)));
    text_pool_ = std::make_unique<TextPool>(context_.options.text_threads,
                                            static_cast<size_t>(context_.options.text_queue_limit));
    context_.text_pool = text_pool_.get();
    listener_->Start();
    for (const auto& shard : shards_) shard->Start();
    running_ = true;
    return OkStatus();
  }

  uint16_t port() const { return listener_->port(); }

  void Stop(std::chrono::milliseconds limit) {
    if (!running_) return;
    running_ = false;
    context_.draining = true;
    listener_->PostClose();
    for (const auto& shard : shards_) shard->PostDrain();
    if (!connections_.WaitForNone(limit)) {
      spdlog::info("{} connections are still open: ending their requests", connections_.count());
      EndRequests();
    }
    text_pool_.reset();  // Its tasks post to the shards.
    for (const auto& shard : shards_) shard->Stop();
  }

 private:
  void EndRequests() {
    context_.stopping = true;
    const Error reason{ErrorCode::kUnavailable, "the server is shutting down"};
    for (const auto& shard : shards_) shard->PostAbortAll(reason);
    if (connections_.WaitForNone(kLastEventTime)) return;
    for (const auto& shard : shards_) shard->PostCloseAll();
    connections_.WaitForNone(kCloseTime);
  }

  BoundPort port_;  ///< Until Start.
  SteadyClock clock_;
  MetricsText metrics_;
  ConnectionCount connections_;
  ServerContext context_;
  std::unique_ptr<TextPool> text_pool_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<Listener> listener_;
  bool running_ = false;
};

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Create(
    ServerOptions options, BoundPort port, engine::Service& service, engine::ServiceLimits limits,
    std::shared_ptr<const text::Tokenizer> tokenizer,
    std::shared_ptr<const text::ChatTemplate> chat_template) {
  WEFT_RETURN_IF_ERROR(Check(options));
  return std::unique_ptr<Server>(
      new Server(std::make_unique<Parts>(std::move(options), std::move(port), service, limits,
                                         std::move(tokenizer), std::move(chat_template))));
}

Status Server::Start() { return parts_->Start(); }
uint16_t Server::port() const { return parts_->port(); }
void Server::Stop(std::chrono::milliseconds limit) { parts_->Stop(limit); }

}  // namespace weft::server
