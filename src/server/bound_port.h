#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"

namespace weft::server {

/// A TCP port that nobody listens on, bound by us: until we listen, who connects is refused. Taken
/// before what takes long, so that a port in use is known at once; of two that have only bound it,
/// the second to listen learns it then.
class BoundPort {
 public:
  /// Port 0: any free one. Resolving `host` may block. An error names the address and what to do.
  static Result<BoundPort> Bind(const std::string& host, uint16_t port);
  BoundPort(BoundPort&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)),
        is_v6_(other.is_v6_),
        host_(std::move(other.host_)),
        port_(other.port_) {}
  BoundPort& operator=(BoundPort&& other) = delete;
  ~BoundPort();

  const std::string& host() const { return host_; }
  uint16_t port() const { return port_; }
  bool is_v6() const { return is_v6_; }
  /// The socket, which is the caller's from now on.
  int Release() { return std::exchange(socket_, -1); }
  /// For a listener's own error. `reason` as the system words it.
  static Error CannotListen(const std::string& host, uint16_t port, bool in_use,
                            const std::string& reason);

 private:
  BoundPort(int socket, bool is_v6, std::string host, uint16_t port)
      : socket_(socket), is_v6_(is_v6), host_(std::move(host)), port_(port) {}

  int socket_;
  bool is_v6_;
  std::string host_;
  uint16_t port_;
};

}  // namespace weft::server
