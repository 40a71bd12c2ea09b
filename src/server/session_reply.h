#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "server/reply.h"

namespace weft::server {

/// What a reply on a connection must follow.
struct ReplyFraming {
  bool head_only = false;  ///< The request was a HEAD.
  bool chunked = true;     ///< HTTP/1.1: streams in chunks; else until the connection closes.
  bool keep_alive = true;
  Bytes max_unread = 0;
};

/// The bytes of one reply as HTTP/1.1 wants them, waiting to be written. The session takes them
/// with Take() whenever it can write, and is woken when there are more.
class SessionReply final : public Reply {
 public:
  SessionReply(ReplyFraming framing, std::function<void()> wake)
      : framing_(framing), wake_(std::move(wake)) {}

  void Send(HttpResponse response) override;
  void BeginStream(HttpResponse head) override;
  void WriteStream(std::string_view data) override;
  void EndStream() override;
  bool Backlogged() const override { return !pending_.empty(); }

  /// Moves what waits into `into`.
  void Take(std::string& into) {
    into.clear();
    into.swap(pending_);
  }
  bool empty() const { return pending_.empty(); }
  /// Nothing more will come.
  bool ended() const { return ended_; }
  /// The connection can serve another request after this reply.
  bool keep_alive() const { return framing_.keep_alive; }
  /// The client reads too slowly: more waits than allowed.
  bool overflowed() const { return overflowed_; }

  /// The session's side of the end: the client is gone, nothing can be written any more.
  void ClientGone();
  /// The session ends: do not wake it any more.
  void Detach() { wake_ = nullptr; }

 private:
  void AppendHead(const HttpResponse& head, bool stream);
  void AppendPart(std::string_view data);
  void Wake() {
    if (wake_) wake_();
  }

  ReplyFraming framing_;
  std::function<void()> wake_;
  std::string pending_;
  bool ended_ = false;
  bool overflowed_ = false;
};

}  // namespace weft::server
