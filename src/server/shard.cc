#include "server/shard.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <utility>

namespace weft::server {
namespace asio = boost::asio;

/// Posts to an io_context for as long as that lives. The engine and the text pool may hold it
/// longer.
class IoPoster final : public Poster {
 public:
  explicit IoPoster(asio::io_context& io) : io_(&io) {}

  void Post(std::function<void()> task) override {
    std::lock_guard lock(mutex_);
    if (io_ != nullptr) asio::post(*io_, std::move(task));
  }

  void PostAfter(std::chrono::milliseconds delay, std::function<void()> task) override {
    std::lock_guard lock(mutex_);
    if (io_ == nullptr) return;
    auto timer = std::make_shared<asio::steady_timer>(*io_, delay);
    timer->async_wait([timer, task = std::move(task)](boost::system::error_code ec) {
      if (!ec) task();
    });
  }

  void Close() {
    std::lock_guard lock(mutex_);
    io_ = nullptr;
  }

 private:
  std::mutex mutex_;
  asio::io_context* io_;
};

Shard::Shard(ServerContext& server, ConnectionCount& connections)
    : work_(asio::make_work_guard(io_)),
      io_poster_(std::make_shared<IoPoster>(io_)),
      context_{server, io_poster_, EventRouter::Create(server.service, io_poster_)},
      connections_(connections) {}

Shard::~Shard() { Stop(); }

void Shard::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "weft-io");
    io_.run();
  });
}

void Shard::Stop() {
  io_poster_->Close();
  work_.reset();
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

void Shard::Adopt(asio::ip::tcp::socket socket) {
  asio::post(io_, [this, socket = std::move(socket)]() mutable {
    if (draining_) {
      connections_.Remove();
      return;
    }
    StartHttpSession(std::move(socket), *this);
  });
}

void Shard::PostDrain() {
  asio::post(io_, [this] {
    draining_ = true;
    for (const auto& [key, connection] : open_) connection->Drain();
  });
}

void Shard::PostAbortAll(Error reason) {
  asio::post(io_, [this, reason = std::move(reason)] { context_.events->AbortAll(reason); });
}

void Shard::PostCloseAll() {
  asio::post(io_, [this] {
    for (const auto& [key, connection] : open_) connection->Close();
  });
}

void Shard::Add(std::shared_ptr<Connection> connection) {
  const Connection* const key = connection.get();
  open_.emplace(key, std::move(connection));
}

void Shard::Remove(const Connection* connection) {
  open_.erase(connection);
  connections_.Remove();
}

}  // namespace weft::server
