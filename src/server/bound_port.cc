#include "server/bound_port.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/thread_role.h"

namespace weft::server {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

Error BoundPort::CannotListen(const std::string& host, uint16_t port, bool in_use,
                              const std::string& reason) {
  if (in_use) {
    return MakeError(ErrorCode::kIo,
                     "cannot listen on {}:{}: the port is in use; stop what uses it, or choose "
                     "another with --port",
                     host, port);
  }
  return MakeError(ErrorCode::kIo, "cannot listen on {}:{}: {}", host, port, reason);
}

Result<BoundPort> BoundPort::Bind(const std::string& host, uint16_t port) {
  AssertMayBlock("BoundPort::Bind");
  error_code ec;
  asio::io_context io;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "--host {}: cannot be resolved: {}", host,
                     ec.message());
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (ec) return CannotListen(host, port, ec == asio::error::address_in_use, ec.message());
  const uint16_t bound = acceptor.local_endpoint().port();
  return BoundPort(acceptor.release(), endpoint.protocol() == tcp::v6(), host, bound);
}

BoundPort::~BoundPort() {
  if (socket_ >= 0) ::close(socket_);
}

}  // namespace weft::server
