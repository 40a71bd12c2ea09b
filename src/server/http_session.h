#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "server/server_context.h"

namespace weft::server {

/// One client's connection, as its shard sees it. On the shard's thread only.
class Connection {
 public:
  virtual ~Connection() = default;
  /// Closes it at the end of the answer under way, or at once when there is none.
  virtual void Drain() = 0;
  /// Closes it now.
  virtual void Close() = 0;
};

/// Who owns connections: a shard.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual ShardContext& context() = 0;
  virtual void Add(std::shared_ptr<Connection> connection) = 0;
  /// The connection is closed. Its owner lets go of it.
  virtual void Remove(const Connection* connection) = 0;
};

/// Serves HTTP/1.1 on a socket of the owner's io_context: keep-alive, pipelined requests one after
/// the other, time limits on reading and writing, bodies up to the limit. While an answer is being
/// made it watches for the client to hang up. Call on the owner's thread.
void StartHttpSession(boost::asio::ip::tcp::socket socket, ConnectionOwner& owner);

}  // namespace weft::server
