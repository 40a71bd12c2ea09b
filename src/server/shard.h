#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <thread>
#include <unordered_map>

#include "server/connection_count.h"
#include "server/http_session.h"
#include "server/server_context.h"

namespace weft::server {

class IoPoster;

/// One I/O thread with its io_context, connections and requests. Owned by the Server; Start, Stop
/// and the posting methods may be called from the thread that owns the Server.
class Shard final : public ConnectionOwner {
 public:
  Shard(ServerContext& server, ConnectionCount& connections);
  ~Shard() override;

  void Start();
  /// Ends the thread; what is still under way is dropped.
  void Stop();

  boost::asio::io_context& io() { return io_; }
  const std::shared_ptr<Poster>& poster() { return context_.poster; }

  /// Any thread: serves the socket, which must belong to io().
  void Adopt(boost::asio::ip::tcp::socket socket);
  void PostDrain();
  /// Every request ends with `reason` as its last event.
  void PostAbortAll(Error reason);
  void PostCloseAll();

  // On the shard's thread:
  ShardContext& context() override { return context_; }
  void Add(std::shared_ptr<Connection> connection) override;
  void Remove(const Connection* connection) override;

 private:
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::shared_ptr<IoPoster> io_poster_;
  ShardContext context_;
  ConnectionCount& connections_;
  std::unordered_map<const Connection*, std::shared_ptr<Connection>> open_;
  bool draining_ = false;
  std::thread thread_;
};

}  // namespace weft::server
