#include "server/listener.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "server/api_error.h"
#include "server/session_reply.h"

namespace weft::server {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

/// After accept failed for want of descriptors or memory.
constexpr std::chrono::milliseconds kAcceptPause{50};

/// Says "too many connections" as far as the socket takes it without waiting.
void TurnAway(tcp::socket socket) {
  SessionReply reply({false, true, false, kMiB}, nullptr);
  reply.Send(ErrorResponse(503, "too many connections: try again later", ApiStyle::kOpenAi));
  std::string bytes;
  reply.Take(bytes);
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.send(asio::buffer(bytes), 0, ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace

Status Listener::Open(BoundPort port) {
  port_ = port.port();
  error_code ec;
  acceptor_.assign(port.is_v6() ? tcp::v6() : tcp::v4(), port.Release(), ec);
  if (!ec) acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (!ec) return OkStatus();
  return BoundPort::CannotListen(port.host(), port_, ec == asio::error::address_in_use,
                                 ec.message());
}

void Listener::Start() { asio::co_spawn(acceptor_.get_executor(), AcceptLoop(), asio::detached); }

void Listener::PostClose() {
  asio::post(acceptor_.get_executor(), [this] {
    error_code ignored;
    acceptor_.close(ignored);
  });
}

asio::awaitable<void> Listener::AcceptLoop() {
  error_code ec;
  while (acceptor_.is_open()) {
    Shard& shard = *shards_[next_];
    next_ = (next_ + 1) % shards_.size();
    tcp::socket socket =
        co_await acceptor_.async_accept(shard.io(), asio::redirect_error(asio::use_awaitable, ec));
    if (!ec && connections_.TryAdd()) {
      shard.Adopt(std::move(socket));
    } else if (!ec) {
      TurnAway(std::move(socket));
    } else if (acceptor_.is_open() && ec != asio::error::connection_aborted) {
      spdlog::warn("cannot accept a connection: {}", ec.message());
      asio::steady_timer pause(acceptor_.get_executor(), kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
  }
}

}  // namespace weft::server
