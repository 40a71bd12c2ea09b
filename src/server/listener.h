#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <vector>

#include "base/result.h"
#include "server/bound_port.h"
#include "server/connection_count.h"
#include "server/shard.h"

namespace weft::server {

/// Accepts connections on the first shard's thread and hands them to the shards in turn. Owned by
/// the Server, which outlives its threads.
class Listener {
 public:
  Listener(std::vector<std::unique_ptr<Shard>>& shards, ConnectionCount& connections)
      : shards_(shards), connections_(connections), acceptor_(shards.front()->io()) {}

  /// Listens; an error names the address and what to do.
  Status Open(BoundPort port);
  uint16_t port() const { return port_; }

  /// Before the shards start.
  void Start();
  /// Any thread: no connection is accepted after this ran on the first shard.
  void PostClose();

 private:
  boost::asio::awaitable<void> AcceptLoop();

  std::vector<std::unique_ptr<Shard>>& shards_;
  ConnectionCount& connections_;
  boost::asio::ip::tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  size_t next_ = 0;
};

}  // namespace weft::server
