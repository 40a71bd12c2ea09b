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

Error CannotListen(const std::string& host, uint16_t port, const error_code& why) {
  if (why == asio::error::address_in_use) {
    return MakeError(ErrorCode::kIo,
                     "cannot listen on {}:{}: the port is in use; stop what uses it, or choose "
                     "another with --port",
                     host, port);
  }
  return MakeError(ErrorCode::kIo, "cannot listen on {}:{}: {}", host, port, why.message());
}

}  // namespace

Status Listener::Open(const std::string& host, uint16_t port) {
  error_code ec;
  tcp::resolver resolver(acceptor_.get_executor());
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "--host {}: cannot be resolved: {}", host,
                     ec.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), ec);
  if (!ec) acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor_.bind(endpoint, ec);
  if (!ec) acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return CannotListen(host, port, ec);
  port_ = acceptor_.local_endpoint().port();
  return OkStatus();
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
