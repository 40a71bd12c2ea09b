#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "engine/service.h"
#include "server/bound_port.h"
#include "server/server_options.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace weft::server {

/// Weft's HTTP side: SGLang's native API, OpenAI's, vLLM's administration, metrics.
///
/// Owned by `weft serve`, which keeps the engine's Service alive for longer. One thread calls
/// Start and Stop. Costs one thread for each I/O shard and each text thread.
class Server {
 public:
  /// Checks the options. `chat_template` may be null: /v1/chat/completions then answers 400.
  static Result<std::unique_ptr<Server>> Create(
      ServerOptions options, BoundPort port, engine::Service& service, engine::ServiceLimits limits,
      std::shared_ptr<const text::Tokenizer> tokenizer,
      std::shared_ptr<const text::ChatTemplate> chat_template);
  /// As Stop with no time to wait.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Listens on the port and begins to serve. An error (another listens by now) says what to do.
  Status Start();

  /// The port that is listened on. After Start.
  uint16_t port() const;

  /// Stops accepting, answers new requests with 503, and lets running ones finish for at most
  /// `limit`; then each gets a last event (finish_reason abort). Returns in at most 4 s more, with
  /// every connection closed and every thread joined. Again: nothing happens.
  void Stop(std::chrono::milliseconds limit);

 private:
  class Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace weft::server
