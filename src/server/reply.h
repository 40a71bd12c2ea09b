#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "server/http_message.h"

namespace weft::server {

/// The answer to one request: either one Send, or BeginStream, any number of WriteStream and one
/// EndStream. Owned by whoever answers; used on its shard's thread only. Calls after the client
/// hung up do nothing. None of them blocks: what the client has not read yet waits in memory,
/// bounded, and a client that lets it grow past the bound counts as gone.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void Send(HttpResponse response) = 0;
  /// `head.body` is the first part of the stream.
  virtual void BeginStream(HttpResponse head) = 0;
  virtual void WriteStream(std::string_view data) = 0;
  virtual void EndStream() = 0;
  /// Earlier parts of the stream are still waiting for the client to read them.
  virtual bool Backlogged() const = 0;

  /// What to do when the client hangs up before the answer's end. Forgotten when the answer ends.
  void OnHangUp(std::function<void()> action) { on_hang_up_ = std::move(action); }

 protected:
  void HangUp() {
    if (auto action = std::exchange(on_hang_up_, nullptr)) action();
  }
  void ForgetHangUp() { on_hang_up_ = nullptr; }

 private:
  std::function<void()> on_hang_up_;
};

}  // namespace weft::server
